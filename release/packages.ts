/** The packages that are published: every one of the workspace that is not private. */
import fs from 'node:fs';
import path from 'node:path';

export const root = path.join(import.meta.dirname, '..');

/** The parts of package.json that the release reads. */
export interface Manifest {
  name: string;
  version: string;
  private?: boolean;
  type?: string;
  license?: string;
  author?: string;
  description?: string;
  keywords?: string[];
  engines?: Record<string, string>;
  sideEffects?: boolean | string[];
  bin?: Record<string, string>;
  files?: string[];
  exports: Record<string, string | Record<string, string>>;
  dependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
  peerDependenciesMeta?: Record<string, { optional?: boolean }>;
  publishConfig?: Record<string, string>;
}

export interface Package {
  /** Without the scope, such as `moe`. */
  name: string;
  /** From the root, such as `packages/moe`. */
  folder: string;
  manifest: Manifest;
}

export const packages: readonly Package[] = ['packages', 'apps']
  .flatMap((group) => fs.readdirSync(path.join(root, group)).map((name) => ({ name, folder: `${group}/${name}` })))
  .filter(({ folder }) => fs.existsSync(path.join(root, folder, 'package.json')))
  .map((one) => ({ ...one, manifest: JSON.parse(fs.readFileSync(path.join(root, one.folder, 'package.json'), 'utf8')) as Manifest }))
  .filter(({ manifest }) => manifest.private !== true);

/** An entry of a package's exports that is code. */
export interface Entry {
  /** What is imported, such as `@dit-moe/tensor-ops/node`. */
  specifier: string;
  /** From the package's folder, such as `./src/node/index.ts`. */
  source: string;
}

export function entries({ manifest }: Package): Entry[] {
  return Object.entries(manifest.exports).flatMap(([key, target]) =>
    typeof target === 'string' ? [] : [{ specifier: manifest.name + key.slice(1), source: target['@dit-moe/source'] }],
  );
}

/** Address of the repository: `repository.url` of the root's package.json, the one place where it stands. */
export function repositoryUrl(): string {
  const { repository } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8')) as { repository?: { url?: string } };
  if (repository?.url === undefined) {
    throw new Error(
      'The address of the repository is not known, and npm needs it for links and provenance: add "repository": { "type": "git", "url": "https://..." } to package.json.',
    );
  }
  return repository.url.replace(/^git\+/, '').replace(/(\.git)?\/?$/, '');
}
