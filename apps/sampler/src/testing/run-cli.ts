/** Runs the command line in processes of its own, bundled once so that starting is quick. */
import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build, type PluginBuild } from 'esbuild';

const ownCli = fileURLToPath(new URL('../cli.ts', import.meta.url));

/** What a process has said when it ended. */
export interface Outcome {
  code: number | null;
  out: string;
  err: string;
}

/** A running command. */
export interface Running {
  child: ChildProcess;
  ended: Promise<Outcome>;
}

/** Leaves foreign packages outside, by the path at which the importing file finds them; our own come from source. */
function externalPackages(context: PluginBuild): void {
  context.onResolve({ filter: /^[^./]/ }, async ({ path: name, pluginData, ...rest }) => {
    if (pluginData === externalPackages || name.startsWith('@dit-moe/') || name.startsWith('node:')) return undefined;
    const { kind, importer, resolveDir } = rest;
    if (kind === 'entry-point') return undefined;
    const found = await context.resolve(name, { kind, importer, resolveDir, pluginData: externalPackages });
    return found.errors.length > 0 || found.external ? found : { path: pathToFileURL(found.path).href, external: true };
  });
}

/**
 * Bundles a command line into `folder` and returns how to start it.
 * @param entry its source (default: this program's)
 */
export async function bundleCli(folder: string, entry = ownCli): Promise<(args: readonly string[], env?: NodeJS.ProcessEnv) => Running> {
  const file = path.join(folder, `${path.basename(path.resolve(entry, '../..'))}.mjs`);
  await build({
    entryPoints: [entry],
    outfile: file,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    conditions: ['@dit-moe/source'],
    mainFields: ['main'],
    plugins: [{ name: 'external-packages', setup: externalPackages }],
    logLevel: 'error',
  });
  return (args, env = {}) => {
    const child = spawn(process.execPath, [file, ...args], { env: { ...process.env, ...env } });
    const outcome: Outcome = { code: null, out: '', err: '' };
    child.stdout.on('data', (text) => (outcome.out += text));
    child.stderr.on('data', (text) => (outcome.err += text));
    const ended = new Promise<Outcome>((resolve) => child.on('close', (code) => resolve({ ...outcome, code })));
    return { child, ended };
  };
}
