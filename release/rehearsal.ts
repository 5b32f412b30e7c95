/**
 * A release from start to end that leaves nothing behind: versions and changelogs are made in a copy of the workspace, and the packages published
 * to a registry on loopback.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import type { LoopbackRegistry } from './loopback-registry.js';
import { packages, root } from './packages.js';
import { publish } from './publish.js';
import { type Staged, stage } from './stage.js';

/** Stands for the address of the repository; `.invalid` leads nowhere, by agreement. */
const REPOSITORY = 'https://repository.invalid/dit-moe';

/** @returns the published packages, in `folder` */
export async function rehearse(folder: string, registry: LoopbackRegistry): Promise<Staged[]> {
  const tree = path.join(folder, 'workspace');
  copyWorkspace(tree);
  const versions = () =>
    packages.map(
      (one) => (JSON.parse(fs.readFileSync(path.join(tree, one.folder, 'package.json'), 'utf8')) as { version: string }).version,
    );
  const before = versions();
  execFileSync(process.execPath, [path.join(root, 'node_modules/@changesets/cli/bin.js'), 'version'], { cwd: tree, stdio: 'pipe' });
  if (fs.readdirSync(path.join(root, '.changeset')).some((file) => file.endsWith('.md'))) {
    const unchanged = packages.filter((_, i) => versions()[i] === before[i] && before[i] === '0.0.0');
    if (unchanged.length > 0) throw new Error(`No changeset names ${unchanged.map(({ manifest }) => manifest.name).join(', ')}.`);
  }
  const target = path.join(folder, 'staged');
  fs.mkdirSync(target);
  const staged = stage({ tree, target, repository: REPOSITORY, registry: registry.url });
  const { host } = new URL(registry.url);
  const options = { registry: registry.url, env: { [`npm_config_//${host}/:_authToken`]: 'rehearsal' } };
  const first = await publish(staged, options);
  if (first.length !== packages.length) throw new Error(`Published ${first.join(', ')}; all ${packages.length} packages were expected.`);
  // A release that was interrupted is simply run again.
  const again = await publish(staged, options);
  if (again.length > 0) throw new Error(`Published a second time: ${again.join(', ')}`);
  return staged;
}

/** What `changeset version` and `pnpm pack` read, with git as it is after a commit. */
function copyWorkspace(tree: string): void {
  fs.mkdirSync(tree);
  const names = ['package.json', 'pnpm-workspace.yaml', 'pnpm-lock.yaml', '.gitignore', '.changeset', 'LICENSE', 'packages', 'apps'];
  for (const name of names) fs.cpSync(path.join(root, name), path.join(tree, name), { recursive: true, verbatimSymlinks: true });
  const git = (...args: string[]) =>
    execFileSync('git', ['-c', 'user.name=rehearsal', '-c', 'user.email=rehearsal@localhost', ...args], { cwd: tree, stdio: 'pipe' });
  git('init', '--quiet', '--initial-branch=main');
  git('add', '--all');
  git('commit', '--quiet', '--message=rehearsal');
}
