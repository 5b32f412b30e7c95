/** For tests: programs in processes of their own, bundled once so that starting is quick. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build, type Plugin } from 'esbuild';

/** Our own packages are bundled from source; others stay where they are. */
const foreignOutside: Plugin = {
  name: 'foreign-outside',
  setup(context) {
    context.onResolve({ filter: /^[^./]/ }, async ({ path: name, kind, importer, resolveDir, pluginData }) => {
      if (/^(@dit-moe\/|node:)/.test(name) || kind === 'entry-point' || pluginData === foreignOutside) return undefined;
      const { path: found, external, errors } = await context.resolve(name, { kind, importer, resolveDir, pluginData: foreignOutside });
      return errors.length > 0 || external ? { path: name, external: true } : { path: pathToFileURL(found).href, external: true };
    });
  },
};

/** What a process had said when it ended. */
export interface Outcome {
  /** Exit code, or the signal that ended it. */
  code: number | NodeJS.Signals | null;
  out: string;
  err: string;
}

export interface Running {
  child: ChildProcessWithoutNullStreams;
  /** What it has said so far. */
  output: { out: string; err: string };
  ended: Promise<Outcome>;
  /** Resolves when the condition holds. @throws what the process has said, if it has ended before */
  until(holds: () => boolean | Promise<boolean>): Promise<void>;
  /** The same for a text to appear. */
  seen(text: string): Promise<void>;
}

export interface StartOptions {
  /** Variables beside those of this process. */
  env?: NodeJS.ProcessEnv;
  /** Put before the command, such as a shell that sets limits. */
  prefix?: readonly string[];
}

function temporaryFolder(): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'program-'));
  process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/**
 * Bundles a program.
 * @param source its entry, such as `new URL('./cli.ts', import.meta.url)`
 * @param folder where it lies, beside the files that it looks for there (default: one of its own)
 * @returns starts it
 */
export async function bundleProgram(
  source: URL,
  folder = temporaryFolder(),
): Promise<(args: readonly string[], options?: StartOptions) => Running> {
  const program = path.join(folder, 'program.mjs');
  await build({
    ...{ entryPoints: [{ in: fileURLToPath(source), out: 'program' }], outdir: folder, outExtension: { '.js': '.mjs' } },
    // In pieces, as it is published: in one file, modules that are also imported late are evaluated in another order.
    ...{ bundle: true, splitting: true, platform: 'node', format: 'esm', target: 'node20', logLevel: 'error' },
    ...{ conditions: ['@dit-moe/source'], mainFields: ['main'], plugins: [foreignOutside] },
  });
  return (args, { env, prefix = [] } = {}) => {
    const [command, ...rest] = [...prefix, process.execPath, program, ...args];
    const child = spawn(command, rest, { env: { ...process.env, ...env } });
    const output = { out: '', err: '' };
    child.stdout.on('data', (text) => {
      output.out += text;
    });
    child.stderr.on('data', (text) => {
      output.err += text;
    });
    const ended = new Promise<Outcome>((resolve) => child.on('close', (code, signal) => resolve({ code: code ?? signal, ...output })));
    let over: Outcome | undefined;
    void ended.then((outcome) => {
      over = outcome;
    });
    const until = async (holds: () => boolean | Promise<boolean>) => {
      for (;;) {
        // Asked before: what it did last counts.
        const outcome = over;
        if (await holds()) return;
        if (outcome !== undefined) throw new Error(`the program ended with ${outcome.code}:\n${outcome.out}${outcome.err}`);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    };
    const seen = (text: string) => until(() => `${output.out}${output.err}`.includes(text));
    return { child, output, ended, until, seen };
  };
}
