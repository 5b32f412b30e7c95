/** Command lines of both applications, run from source in the root of the repository. */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

export const root = path.join(import.meta.dirname, '..');

/** A command line, and what it leaves behind: where that is there, the command has been run. */
export interface Command {
  /** As people type it. */
  line: string;
  makes: string;
  /** What it prints is kept in the file that it makes. */
  printsIt?: boolean;
}

/** Runs commands in their order, from the first one on whose result is missing. */
export async function runCommands(commands: readonly Command[]): Promise<void> {
  for (const { line, makes, printsIt = false } of commands) {
    if (fs.existsSync(path.join(root, makes))) continue;
    console.error(`$ ${line}`);
    const output = await runLine(line);
    if (printsIt) fs.writeFileSync(path.join(root, makes), output);
  }
}

/** A command has failed or was interrupted, and has said why. */
class CommandError extends Error {}

/** Runs a program of such commands; what they have said of a failure is not said again by a stack. */
export async function runProgram(program: () => Promise<void>): Promise<void> {
  try {
    await program();
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}

/**
 * Runs `dit-moe-trainer ...` or `dit-moe-sampler ...`; an argument may stand in single quotes.
 * @returns what it prints
 * @throws CommandError if it fails, or a signal ends it
 */
export async function runLine(line: string): Promise<string> {
  const [program, ...args] = [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain);
  const application = program.replace('dit-moe-', '');
  const child = spawn(process.execPath, [...process.execArgv, path.join(root, 'apps', application, 'src/cli.ts'), ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    // In a group of its own, so that Ctrl-C reaches it once, from here.
    detached: process.platform !== 'win32',
  });
  let interrupted = false;
  const pass = (signal: NodeJS.Signals): void => {
    interrupted = true;
    child.kill(signal);
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, pass);
  let output = '';
  child.stdout.on('data', (text) => {
    output += text;
  });
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve)).finally(() => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, pass);
  });
  if (interrupted) throw new CommandError('Interrupted: the same command goes on.');
  if (code !== 0) throw new CommandError(`${line} has ended with code ${code}.`);
  return output;
}
