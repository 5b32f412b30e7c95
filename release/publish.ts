/**
 * Publishes what is not published yet: `pnpm release --registry URL [--provenance]`, after `changeset version` and `pnpm build`.
 *
 * The packages themselves name a registry on loopback that nobody runs, so that no publish happens by a slip; only this knows the real one.
 * Provenance is asked for by the job that releases, because npm grants it to supported CI systems only.
 */
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { type Manifest, packages, repositoryUrl, root } from './packages.js';
import { type Staged, stage } from './stage.js';

export interface PublishOptions {
  registry: string;
  provenance?: boolean;
  /** More environment for npm, such as the token of the registry. */
  env?: Record<string, string>;
}

/** Publishes staged packages, those that others need first; returns `name@version` of each that was not there yet. */
export async function publish(staged: readonly Staged[], { registry, provenance = false, env = {} }: PublishOptions): Promise<string[]> {
  const npm = (args: string[], cwd: string) =>
    promisify(execFile)('npm', [...args, '--registry', registry], { cwd, env: { ...process.env, ...env } });
  const published: string[] = [];
  for (const { manifest, directory } of inOrder(staged)) {
    const id = `${manifest.name}@${manifest.version}`;
    if (await isPublished(registry, manifest)) continue;
    await npm(['publish', ...(provenance ? ['--provenance'] : [])], directory);
    published.push(id);
  }
  return published;
}

async function isPublished(registry: string, { name, version }: Manifest): Promise<boolean> {
  const response = await fetch(new URL(name.replace('/', '%2f'), registry));
  if (response.status === 404) return false;
  if (!response.ok) throw new Error(`${registry} answers ${response.status} about ${name}`);
  return version in ((await response.json()) as { versions: Record<string, unknown> }).versions;
}

/** Packages after those that they depend on. */
function inOrder(staged: readonly Staged[]): Staged[] {
  const placed = new Set<Staged>();
  const place = (one: Staged) => {
    if (placed.has(one)) return;
    for (const other of staged) if (other.manifest.name in (one.manifest.dependencies ?? {})) place(other);
    placed.add(one);
  };
  staged.forEach(place);
  return [...placed];
}

if (import.meta.filename === process.argv[1]) {
  const { values } = parseArgs({ options: { registry: { type: 'string' }, provenance: { type: 'boolean', default: false } } });
  if (values.registry === undefined) throw new Error('Say where to publish: pnpm release --registry URL [--provenance]');
  const unversioned = packages.filter(({ manifest }) => manifest.version === '0.0.0');
  if (unversioned.length > 0) throw new Error('The packages have no version yet: pnpm version-packages, and commit what it writes.');
  const target = fs.mkdtempSync(path.join(os.tmpdir(), 'dit-moe-release-'));
  try {
    const staged = stage({ tree: root, target, repository: repositoryUrl(), registry: values.registry });
    for (const id of await publish(staged, { registry: values.registry, provenance: values.provenance })) console.log(`published ${id}`);
  } finally {
    fs.rmSync(target, { recursive: true });
  }
}
