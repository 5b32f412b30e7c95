/**
 * Makes the folders that are published: what `pnpm pack` packs, with the manifest and README that a user should get. Sources of the workspace
 * are no longer an entry, links point to the repository, and what only development needs is gone.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { type Manifest, type Package, packages } from './packages.js';

export interface StageOptions {
  /** The workspace, or a copy of it. */
  tree: string;
  /** Where the folders are made, each named as its package. */
  target: string;
  /** Address of the repository, without a slash at the end. */
  repository: string;
  registry: string;
}

/** A package that is ready to be published. */
export interface Staged extends Package {
  directory: string;
}

export function stage({ tree, target, repository, registry }: StageOptions): Staged[] {
  return packages.map((one) => {
    execFileSync('pnpm', ['pack', '--pack-destination', target], { cwd: path.join(tree, one.folder), stdio: 'pipe' });
    const tarball = path.join(target, fs.readdirSync(target).find((file) => file.endsWith('.tgz'))!);
    const directory = path.join(target, one.name);
    fs.mkdirSync(directory);
    execFileSync('tar', ['-xzf', tarball, '-C', directory, '--strip-components=1']);
    fs.rmSync(tarball);

    const file = path.join(directory, 'package.json');
    const manifest = published(JSON.parse(fs.readFileSync(file, 'utf8')) as Manifest, one.folder, repository, registry);
    fs.writeFileSync(file, `${JSON.stringify(manifest, null, 2)}\n`);
    const readme = path.join(directory, 'README.md');
    fs.writeFileSync(readme, withAbsoluteLinks(fs.readFileSync(readme, 'utf8'), one.folder, repository));
    const staged = { ...one, manifest, directory };
    const problems = problemsOf(staged);
    if (problems.length > 0) throw new Error(`${manifest.name} cannot be published:\n${problems.map((line) => `- ${line}`).join('\n')}`);
    return staged;
  });
}

function published(manifest: Manifest, folder: string, repository: string, registry: string): Manifest {
  const { devDependencies: _, scripts: __, ...kept } = manifest as Manifest & { devDependencies?: unknown; scripts?: unknown };
  const exports = Object.entries(manifest.exports).map(([key, target]) => {
    if (typeof target === 'string') return [key, target];
    const { '@dit-moe/source': ___, ...conditions } = target;
    return [key, conditions];
  });
  return {
    ...kept,
    exports: Object.fromEntries(exports),
    publishConfig: { access: 'public', registry },
    ...{ repository: { type: 'git', url: `git+${repository}.git`, directory: folder } },
    ...{ homepage: `${repository}/tree/main/${folder}#readme`, bugs: `${repository}/issues` },
  };
}

/** npm shows a README away from its repository: relative links become addresses, those of pictures the pictures themselves. */
export function withAbsoluteLinks(readme: string, folder: string, repository: string): string {
  return readme.replace(/(!?)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)]+)\)/g, (_, picture: string, text: string, link: string) => {
    const [file, anchor] = link.split('#');
    const target = path.posix.join(folder, file) + (anchor === undefined ? '' : `#${anchor}`);
    return `${picture}[${text}](${repository}/${picture === '!' ? 'raw' : 'blob'}/main/${target})`;
  });
}

/** What a user would stumble over. */
function problemsOf({ manifest, directory, name }: Staged): string[] {
  const files = (fs.readdirSync(directory, { recursive: true }) as string[]).map((file) => file.replaceAll(path.sep, '/'));
  const problems: string[] = [];
  const must = (holds: boolean, problem: string) => {
    if (!holds) problems.push(problem);
  };
  must(manifest.type === 'module' && manifest.license === 'Apache-2.0', 'type is not "module" or license not "Apache-2.0"');
  must((manifest.description ?? '') !== '' && (manifest.author ?? '') !== '', 'description or author is missing');
  must((manifest.keywords ?? []).length >= 5, 'fewer than five keywords');
  must(manifest.engines?.['node'] === '>=20.19', 'engines.node is not ">=20.19"');
  must(manifest.sideEffects === false, 'sideEffects is not false');
  must(files.includes('LICENSE') && files.includes('README.md'), 'LICENSE or README.md is missing');
  must(files.includes('CHANGELOG.md') || manifest.version === '0.0.0', 'CHANGELOG.md is missing');
  for (const file of files)
    must(!/\.test\.|(^|\/)testing(\/|$)|\.tsbuildinfo$/.test(file), `${file} is for tests (npm packs whatever is called readme)`);
  const targets = Object.values(manifest.exports).flatMap((target) => (typeof target === 'string' ? [target] : Object.values(target)));
  for (const target of [...targets, ...Object.values(manifest.bin ?? {})]) {
    must(files.includes(target.replace('./', '')), `${target} is named in the manifest and not there; was it built?`);
  }
  for (const [dependency, range] of Object.entries({ ...manifest.dependencies, ...manifest.peerDependencies })) {
    // Exact versions keep users from sharing a copy and from patches; a reason for one belongs here, beside its name.
    must(/^\^/.test(range), `${dependency} ${range} is no caret range`);
  }
  const readme = fs.readFileSync(path.join(directory, 'README.md'), 'utf8');
  must(readme.startsWith('# '), `the README of ${name} has no title`);
  return problems;
}
