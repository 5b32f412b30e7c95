/**
 * What people who install the packages meet: `pnpm check:packages`, after `pnpm build`.
 *
 * The release is rehearsed on a loopback registry, and the packages installed from there into empty folders outside of the workspace, by npm as
 * each README says and by pnpm, yarn and bun; every entry is imported, the READMEs' programs are compiled as strict TypeScript and run, so are
 * the programs of `examples/` and the blocks of the pages of `docs/`, and bundles for browsers are measured.
 *
 * Options: `--keep` leaves the folders; `--only WORD` runs the checks whose name contains the word, and those that they need. Names are `everything`,
 * `documents`, `README NAME` of a package, `pnpm`, `yarn` and `bun`.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { compile } from './compile.js';
import { lintPackage } from './lint-packages.js';
import { loopbackRegistry } from './loopback-registry.js';
import { entries, root } from './packages.js';
import { runPage } from './page.js';
import { type Readme, readReadme } from './readme.js';
import { rehearse } from './rehearsal.js';
import { run } from './run.js';
import { runDocuments } from './run-documents.js';
import { bundleSizes } from './size-limits.js';
import type { Staged } from './stage.js';

const { values: flags } = parseArgs({ options: { keep: { type: 'boolean', default: false }, only: { type: 'string', default: '' } } });

/** Package managers beside the npm that comes with Node, as these versions of their packages. */
const managers = ['pnpm@10.34.9', '@yarnpkg/cli-dist@4.18.1', 'bun@1.4.5'];
/**
 * Packages with an install script that may come along. koffi's builds from source where none of its prebuilt binaries fits; core-js, which
 * comes with `@tensorflow/tfjs`, prints a line. Scripts that download something fail where only a registry can be reached.
 */
const scriptsAllowed = ['koffi', 'core-js'];
/** Share by which a size that a README states may differ from what is measured. */
const SIZE_TOLERANCE = 0.1;

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dit-moe-consumers-'));
const registry = await loopbackRegistry();
const failures: string[] = [];

/** Runs a check, says how long it took and what it found; a failure does not keep the next ones from running. */
async function check<T>(name: string, work: () => Promise<T | string>): Promise<T | string | undefined> {
  const started = Date.now();
  const seconds = () => `${((Date.now() - started) / 1000).toFixed(1)} s`.padStart(8);
  try {
    const result = await work();
    console.log(`ok   ${seconds()}  ${name}${typeof result === 'string' ? `: ${result}` : ''}`);
    return result;
  } catch (error) {
    console.log(`FAIL ${seconds()}  ${name}\n${(error as Error).message.replace(/^/gm, '     ')}`);
    failures.push(name);
    return undefined;
  }
}

const wanted = (name: string) => name.includes(flags.only);

/** An empty project that takes the packages from the loopback registry. */
function project(name: string, more: Record<string, string> = {}): string {
  const cwd = path.join(folder, name.replace(/\W+/g, '-'));
  fs.mkdirSync(cwd);
  const files = {
    'package.json': JSON.stringify({ name: 'consumer', private: true, type: 'module' }),
    '.npmrc': `@dit-moe:registry=${registry.url}\naudit=false\nfund=false\nupdate-notifier=false\n`,
    ...more,
  };
  for (const [file, content] of Object.entries(files)) fs.writeFileSync(path.join(cwd, file), content);
  return cwd;
}

/** Installs with npm, scripts on, and returns the size in MB. */
async function npmInstall(cwd: string, names: readonly string[]): Promise<number> {
  await run('npm', ['install', '--ignore-scripts=false', '--save', ...names], { cwd });
  const { packages } = JSON.parse(fs.readFileSync(path.join(cwd, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { hasInstallScript?: boolean }>;
  };
  const scripts = Object.keys(packages).filter(
    (name) => packages[name].hasInstallScript && !scriptsAllowed.some((x) => name.endsWith(`/${x}`)),
  );
  if (scripts.length > 0) throw new Error(`These packages have install scripts: ${scripts.join(', ')}`);
  return Number(execFileSync('du', ['-sm', path.join(cwd, 'node_modules')], { encoding: 'utf8' }).split('\t')[0]);
}

/** Imports every entry by name. */
async function importAll(cwd: string, staged: readonly Staged[], node: readonly [string, ...string[]]): Promise<string> {
  const specifiers = staged.flatMap((one) => entries(one).map(({ specifier }) => specifier));
  const lines = specifiers.map((x) => `if (Object.keys(await import('${x}')).length === 0) throw new Error('${x} exports nothing');`);
  fs.writeFileSync(path.join(cwd, 'imports.mjs'), lines.join('\n'));
  await run(node[0], [...node.slice(1), 'imports.mjs'], { cwd });
  return `${specifiers.length} entries`;
}

/** A README's own installation: its size, its program. */
async function followReadme(one: Staged, readme: Readme): Promise<string> {
  const [first, ...more] = readme.installs;
  if (!first?.includes(one.manifest.name)) throw new Error(`its README does not say "npm install ${one.manifest.name} ..."`);
  const cwd = project(`readme-${one.name}`);
  const size = await npmInstall(cwd, first);
  if (readme.megabytes === undefined || Math.abs(readme.megabytes / size - 1) > SIZE_TOLERANCE) {
    throw new Error(`its README says "Installed size: ${readme.megabytes ?? '?'} MB", and it takes ${size} MB`);
  }
  await importAll(cwd, [one], [process.execPath]);
  if (readme.programs.length === 0) return `${size} MB`;
  await npmInstall(cwd, [...more.flat(), '@types/node@20']);
  // Some read pictures, here of handwritten digits, or the model that the trainer's demo has made.
  const digits = path.join(root, 'apps/trainer/data/digits');
  for (const name of ['digits', 'photos']) fs.symlinkSync(digits, path.join(cwd, name));
  fs.symlinkSync(path.join(folder, 'everything/runs'), path.join(cwd, 'runs'));
  const files = readme.programs.map((text, i) => {
    fs.writeFileSync(path.join(cwd, `example-${i + 1}.ts`), text);
    return `example-${i + 1}.ts`;
  });
  await compile(cwd, files);
  const started = Date.now();
  for (const file of files) await run(process.execPath, [file.replace('.ts', '.js')], { cwd });
  return `${size} MB; ${files.length} of its programs ran in ${Math.round((Date.now() - started) / 1000)} s`;
}

/** Every package in one project of another package manager. */
async function otherManager(name: string, staged: readonly Staged[]): Promise<string> {
  const peers = staged.flatMap(({ manifest }) =>
    Object.entries(manifest.peerDependencies ?? {}).map(([peer, range]) => `${peer}@${range}`),
  );
  const names = [...new Set([...staged.map(({ manifest }) => manifest.name), ...peers])];
  const tools = path.join(folder, 'tools/node_modules/.bin');
  if (name === 'yarn') {
    const settings = {
      npmScopes: { 'dit-moe': { npmRegistryServer: registry.url } },
      unsafeHttpWhitelist: ['127.0.0.1'],
      enableScripts: true,
    };
    const cwd = project('yarn', { '.yarnrc.yml': JSON.stringify({ ...settings, enableTelemetry: false }), 'yarn.lock': '' });
    await run(path.join(tools, 'yarn'), ['add', ...names], { cwd });
    return importAll(cwd, staged, [path.join(tools, 'yarn'), 'node']);
  }
  const cwd = project(name, name === 'pnpm' ? { 'pnpm-workspace.yaml': 'dangerouslyAllowAllBuilds: true\n' } : {});
  await run(path.join(tools, name), ['add', ...names], { cwd });
  return importAll(cwd, staged, [process.execPath]);
}

/** Everything in one project: declarations without `skipLibCheck`, bundles, the demo, whose run others go on with, and the pages. */
async function everything(staged: readonly Staged[]): Promise<void> {
  const cwd = project('everything');
  const readmes = staged.map((one) => readReadme(one.directory));
  const installed = await check('npm: all packages and applications', async () => {
    const size = await npmInstall(cwd, [...new Set([...readmes.flatMap((x) => x.installs.flat()), '@types/node@20'])]);
    return `${size} MB, ${await importAll(cwd, staged, [process.execPath])}`;
  });
  if (installed === undefined) return;
  if (wanted('everything')) await declarationsAndBundles(cwd, staged);
  const made = await check('dit-moe-trainer demo', async () => {
    // It trains for a minute or two on two free cores.
    const output = await run('npx', ['--no', 'dit-moe-trainer', 'demo'], { cwd, timeout: 1_800_000 });
    return output.trim().split('\n').at(-1)!;
  });
  if (made !== undefined && wanted('documents')) await runDocuments(cwd, check);
}

async function declarationsAndBundles(cwd: string, staged: readonly Staged[]): Promise<void> {
  await check('declarations, without skipLibCheck', async () => {
    const specifiers = staged.flatMap((one) => entries(one).map(({ specifier }) => specifier));
    fs.writeFileSync(path.join(cwd, 'types.ts'), specifiers.map((x, i) => `export * as entry${i} from '${x}';`).join('\n'));
    // Declarations of TensorFlow.js have errors of their own.
    const ours = await compile(cwd, ['types.ts'], { skipLibCheck: false }).then(
      () => [],
      (error: Error) => error.message.split('\n').filter((line) => /^(node_modules\/@dit-moe\/|types\.ts)/.test(line)),
    );
    if (ours.length > 0) throw new Error(ours.join('\n'));
    return `${specifiers.length} entries`;
  });
  await check('bundles for browsers', async () => {
    const sizes = await bundleSizes(cwd);
    const table = sizes.map(({ what, minified, compressed, limit }) => {
      const [min, gz, most] = [minified, compressed, limit].map((kB) => kB.toFixed(1).padStart(6));
      return `${compressed > limit ? '  >> ' : '     '}${min} kB, ${gz} kB compressed of at most ${most}  ${what}`;
    });
    if (sizes.some(({ compressed, limit }) => compressed > limit)) throw new Error(table.join('\n'));
    return `\n${table.join('\n')}`;
  });
}

/** The programs of `examples/`, where everything is installed; they use what the demo and the autoencoder's README have made. */
async function runExamples(): Promise<void> {
  const cwd = path.join(folder, 'everything');
  const examples = path.join(root, 'examples');
  fs.symlinkSync(path.join(root, 'apps/trainer/data/digits'), path.join(cwd, 'digits'));
  fs.symlinkSync(path.join(folder, 'readme-vae/my-vae'), path.join(cwd, 'vae'));
  for (const file of fs.readdirSync(examples).filter((name) => name.endsWith('.ts'))) {
    await check(`examples/${file}`, async () => {
      fs.copyFileSync(path.join(examples, file), path.join(cwd, file));
      await compile(cwd, [file]);
      const program = file.replace(/\.ts$/, '.js');
      if (!file.endsWith('.page.ts')) await run(process.execPath, [program], { cwd });
      else if ((await runPage(cwd, program)) < 10) throw new Error('The picture that it shows is empty.');
    });
  }
}

try {
  const rehearsed = await check('release: versions, changelogs, publishing twice', async () => rehearse(folder, registry));
  if (rehearsed !== undefined && typeof rehearsed !== 'string') {
    await check('publint and attw', async () => {
      const tarballs = await Promise.all(
        rehearsed.map(async ({ manifest }) => fetch(`${registry.url}${manifest.name}/-/${manifest.version}.tgz`).then((x) => x.bytes())),
      );
      const problems = (await Promise.all(rehearsed.map((one, i) => lintPackage(one, tarballs[i])))).flat();
      if (problems.length > 0) throw new Error(problems.join('\n'));
    });
    // The README of the pipeline samples what the demo has trained.
    if (['everything', 'documents', 'README pipeline'].some(wanted)) await everything(rehearsed);
    for (const one of rehearsed.filter(({ name }) => wanted(`README ${name}`))) {
      await check(`README of ${one.manifest.name}`, () => followReadme(one, readReadme(one.directory)));
    }
    if (wanted('everything')) await runExamples();
    const others = ['pnpm', 'yarn', 'bun'].filter(wanted);
    if (others.length > 0) {
      await check('package managers', async () => {
        await run('npm', ['install', ...managers], { cwd: project('tools') });
      });
    }
    for (const name of others) await check(name, () => otherManager(name, rehearsed));
  }
} finally {
  registry.close();
  if (flags.keep) console.log(`kept ${folder}`);
  else fs.rmSync(folder, { recursive: true, force: true });
}
if (failures.length > 0) {
  console.error(`${failures.length} of the checks above failed: ${failures.join('; ')}`);
  process.exitCode = 1;
}
