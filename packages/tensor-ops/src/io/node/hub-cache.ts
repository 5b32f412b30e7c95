/**
 * The Hugging Face hub's cache on disk, so that files are shared with its Python and JavaScript libraries:
 * `models--owner--name/{blobs/<etag>, refs/<revision>, snapshots/<commit>/<file>}`, where snapshots are links to blobs.
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import { ArgumentError } from '../../errors.js';
import { hubHome } from './hub-access.js';

/** Commits and hashes, which become names of folders and files: nothing else a hub answers does. */
const COMMIT = /^[0-9a-f]{40}$/;
const ETAG = /^[0-9a-f]{40,64}$/;

/** Where the hub's libraries keep their files: `HF_HUB_CACHE`, else `HF_HOME`/hub, else `~/.cache/huggingface/hub`. */
export function hubCacheFolder(): string {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE } = process.env;
  return HF_HUB_CACHE ?? HUGGINGFACE_HUB_CACHE ?? path.join(hubHome(), 'hub');
}

/** One repository in the cache. */
export class CachedRepository {
  readonly folder: string;

  constructor(cacheFolder: string, repository: string) {
    this.folder = path.join(cacheFolder, ['models', ...repository.split('/')].join('--'));
  }

  blob(etag: string): string {
    if (!ETAG.test(etag)) throw new ArgumentError('hub cache: hash', '40 to 64 hexadecimal digits', etag);
    return path.join(this.folder, 'blobs', etag);
  }

  snapshot(commit: string): string {
    if (!COMMIT.test(commit)) throw new ArgumentError('hub cache: commit', '40 hexadecimal digits', commit);
    return path.join(this.folder, 'snapshots', commit);
  }

  /** Commit that a branch or tag had when it was last downloaded; undefined if it never was. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (COMMIT.test(revision)) return revision;
    const commit = await fs.readFile(path.join(this.folder, 'refs', revision), 'utf8').catch(() => '');
    return COMMIT.test(commit.trim()) ? commit.trim() : undefined;
  }

  async setCommit(revision: string, commit: string): Promise<void> {
    if (revision === commit) return;
    const file = path.join(this.folder, 'refs', revision);
    await fs.mkdir(path.dirname(file), { recursive: true });
    await fs.writeFile(file, commit);
  }

  /** Those of `files` that the snapshot does not have. */
  async missing(commit: string, files: readonly string[]): Promise<string[]> {
    const there = await Promise.all(files.map((file) => exists(path.join(this.snapshot(commit), file))));
    return files.filter((_, i) => !there[i]);
  }

  /** Makes a downloaded blob a file of a snapshot; where links are not allowed (Windows), by moving it. */
  async link(commit: string, file: string, etag: string): Promise<void> {
    const place = path.join(this.snapshot(commit), file);
    await fs.mkdir(path.dirname(place), { recursive: true });
    await fs.rm(place, { force: true });
    try {
      await fs.symlink(path.relative(path.dirname(place), this.blob(etag)), place);
    } catch {
      await fs.rename(this.blob(etag), place);
    }
  }
}

export async function exists(file: string): Promise<boolean> {
  return fs.stat(file).then(
    () => true,
    () => false,
  );
}
