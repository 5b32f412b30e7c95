/** Commands of the release: their output is shown when they fail. */
import { execFile } from 'node:child_process';

export interface RunOptions {
  cwd: string;
  env?: Record<string, string>;
  /** Milliseconds (default ten minutes). */
  timeout?: number;
}

/** A command failed; the message ends with what it printed last. */
export class CommandError extends Error {}

/** Runs a command; returns what it wrote to stdout. */
export function run(command: string, args: readonly string[], { cwd, env = {}, timeout = 600_000 }: RunOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(command, args, { cwd, env: { ...process.env, ...env }, timeout, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout);
      const output = `${stdout}\n${stderr}`.trim().split('\n').slice(-40).join('\n');
      reject(
        new CommandError(`${[command, ...args].join(' ')} in ${cwd} failed (${error.killed ? 'took too long' : error.code}):\n${output}`),
      );
    });
  });
}
