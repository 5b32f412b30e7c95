/**
 * Files of the Hugging Face hub, into the hub's own cache: resumed where they stopped, checked against their hashes, fetched by one of
 * several processes that want the same, and found again without a network.
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { PathInfo } from '@huggingface/hub';
import { ArgumentError } from '../../errors.js';
import { type Access, accessOf, checkRepository, HubError, hubHash, reasonOf, statusOf } from './hub-access.js';
import { CachedRepository, exists, hubCacheFolder } from './hub-cache.js';
import { type Hub, loadHub } from './hub-client.js';
import { type Lock, LockError, takeLock } from './lock.js';

/** Progress of one file. */
export interface HubProgress {
  file: string;
  /** Bytes on this machine, those of earlier attempts included. */
  received: number;
  total: number;
}

/** Which revision of a repository, and where it is kept. */
export interface HubOptions {
  /** Branch, tag or commit (default `main`). A commit that is in the cache is not asked for again. */
  revision?: string;
  /** Default: where the hub's own libraries keep theirs, see `hubCacheFolder`. */
  cacheFolder?: string;
  /** Access token for gated and private repositories (default: environment variable `HF_TOKEN`, else what `hf auth login` has stored). */
  token?: string;
  /** Address of the hub (default: environment variable `HF_ENDPOINT`, else the public hub). */
  hubUrl?: string;
  /** Use what is in the cache, never the network (default: whether the environment variable `HF_HUB_OFFLINE` is `1`). */
  offline?: boolean;
  onProgress?: (progress: HubProgress) => void;
  /** Ends the download; what has arrived is kept and continued next time. */
  signal?: AbortSignal;
}

/** Attempts per file when the connection breaks; each goes on where the last one stopped. */
const ATTEMPTS = 5;
/** Milliseconds before the second attempt; doubled each time. */
const FIRST_PAUSE = 250;
/** Milliseconds between two looks at a file that another process is fetching. */
const LOOK_PAUSE = 250;

/**
 * Fetches files of a model repository, unless they are cached.
 *
 * @param repository such as `facebook/DiT-XL-2-256`
 * @param files paths in it
 * @returns the folder that holds them at these paths
 * @throws ArgumentError for a name or path that is none
 * @throws HubError if they are not cached and the library is missing, there is no network, no access, or no such file
 */
export async function downloadFromHub(repository: string, files: readonly string[], options: HubOptions = {}): Promise<string> {
  checkRepository('downloadFromHub', repository);
  for (const file of files)
    if (file === '' || path.posix.isAbsolute(file) || /[\\\0]/.test(file) || file.split('/').includes('..'))
      throw new ArgumentError('downloadFromHub: files', 'relative paths in the repository', file);
  const { revision = 'main', cacheFolder = hubCacheFolder(), offline = process.env['HF_HUB_OFFLINE'] === '1' } = options;
  if (!/^[\w.-]+(\/[\w.-]+)*$/.test(revision) || revision.includes('..'))
    throw new ArgumentError('downloadFromHub: revision', 'a branch, tag or commit', revision);

  const cache = new CachedRepository(cacheFolder, repository);
  const known = await cache.commitOf(revision);
  const missing = known === undefined ? files : await cache.missing(known, files);
  if (missing.length === 0 && (offline || known === revision)) return cache.snapshot(known!);
  const lacking = `${repository} (${revision}): ${missing.join(', ')}`;
  if (offline) throw new HubError(`${lacking} are not in the cache ${cacheFolder}, and downloads are switched off.`);
  try {
    const download = new HubDownload(await loadHub(`${lacking} must be fetched from the Hugging Face hub`), repository, cache, options);
    const commit = await download.commit(revision);
    await download.files(commit, await cache.missing(commit, files));
    await cache.setCommit(revision, commit);
    return cache.snapshot(commit);
  } catch (error) {
    options.signal?.throwIfAborted();
    // A branch that was downloaded before is good enough when the hub cannot be asked.
    if (missing.length === 0) return cache.snapshot(known!);
    throw explained(error, lacking, cacheFolder);
  }
}

class HubDownload {
  private readonly access: Access;

  constructor(
    private readonly hub: Hub,
    private readonly repository: string,
    private readonly cache: CachedRepository,
    private readonly options: HubOptions,
  ) {
    this.access = accessOf(options);
  }

  /** The commit that a revision is now. */
  async commit(revision: string): Promise<string> {
    const { sha } = await this.hub.modelInfo({ name: this.repository, revision, additionalFields: ['sha'], ...this.access });
    if (!/^[0-9a-f]{40}$/.test(sha)) throw new HubError(`${this.repository}: the hub gives no commit for ${revision}.`);
    return sha;
  }

  async files(commit: string, files: readonly string[]): Promise<void> {
    if (files.length === 0) return;
    const infos = await this.hub.pathsInfo({ repo: this.repository, paths: [...files], revision: commit, ...this.access });
    for (const file of files) {
      const info = infos.find(({ path, type }) => path === file && type === 'file');
      if (info === undefined) throw new HubError(`${this.repository} has no file ${file} at revision ${commit}.`);
      await this.file(commit, file, info);
    }
  }

  private async file(commit: string, file: string, info: PathInfo): Promise<void> {
    const size = info.lfs?.size ?? info.size;
    const etag = info.lfs?.oid ?? info.oid;
    if (etag === undefined || !/^[0-9a-f]{40,64}$/.test(etag)) throw new HubError(`${this.repository}: the hub gives no hash for ${file}.`);
    const blob = this.cache.blob(etag);
    await fs.mkdir(path.dirname(blob), { recursive: true });
    const lock = await this.turn(`${blob}.lock`, file);
    try {
      // Whoever had the lock before may have fetched it.
      if ((await this.cache.missing(commit, [file])).length === 0) return;
      if (!(await exists(blob))) {
        const incomplete = `${blob}.incomplete`;
        await this.receive(incomplete, commit, file, size, lock);
        if ((await hubHash(incomplete, size, info.lfs !== undefined)) !== etag) {
          await fs.rm(incomplete);
          throw new HubError(`${file} of ${this.repository} arrived damaged: its hash is not ${etag}. It was deleted; try again.`);
        }
        await fs.rename(incomplete, blob);
      }
      await this.cache.link(commit, file, etag);
    } finally {
      await lock.release();
    }
  }

  /** The lock of a file, waiting for others that fetch it: workers of one job begin with the same. */
  private async turn(lock: string, file: string): Promise<Lock> {
    const { signal } = this.options;
    for (;;) {
      signal?.throwIfAborted();
      try {
        return await takeLock(lock, `${file} of ${this.repository}`);
      } catch (error) {
        if (!LockError.isInstance(error)) throw error;
      }
      await pause(LOOK_PAUSE, undefined, { signal });
    }
  }

  /** Appends to `incomplete` until it has `size` bytes, over as many connections as it takes. */
  private async receive(incomplete: string, commit: string, file: string, size: number, lock: Lock): Promise<void> {
    const { signal, onProgress } = this.options;
    const handle = await fs.open(incomplete, 'a');
    try {
      let received = (await handle.stat()).size;
      if (received > size) await handle.truncate((received = 0));
      const request = { repo: this.repository, path: file, revision: commit, ...this.access };
      for (let attempt = 1; received < size; attempt++) {
        try {
          const blob = await this.hub.downloadFile(request);
          if (blob === null) throw new HubError(`${this.repository} has no file ${file} at revision ${commit}.`);
          for await (const chunk of blob.slice(received, size).stream() as unknown as AsyncIterable<Uint8Array>) {
            signal?.throwIfAborted();
            lock.check();
            if (received + chunk.length > size) throw new HubError(`The hub sent more than the ${size} bytes of ${file}.`);
            await handle.write(chunk);
            received += chunk.length;
            attempt = 1;
            onProgress?.({ file, received, total: size });
          }
          if (received < size) throw new Error(`the connection ended after ${received} of ${size} bytes`);
        } catch (error) {
          signal?.throwIfAborted();
          if (attempt >= ATTEMPTS || error instanceof HubError || LockError.isInstance(error) || isRefusal(error)) throw error;
          await pause(FIRST_PAUSE * 2 ** (attempt - 1), undefined, { signal });
        }
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}

/** The hub answered, and asking again will not help. */
const isRefusal = (error: unknown): boolean => {
  const status = statusOf(error);
  return status !== undefined && status >= 400 && status < 500 && status !== 408 && status !== 429;
};

function explained(error: unknown, lacking: string, cacheFolder: string): unknown {
  if (error instanceof HubError) return error;
  const options = { cause: error };
  const status = statusOf(error);
  if (status === 401 || status === 403)
    return new HubError(
      `No access to ${lacking}. If the repository is gated, accept its terms on its page; then set HF_TOKEN to a token that may read it. ` +
        'The hub also answers so for names that do not exist.',
      options,
    );
  if (status === 404) return new HubError(`The Hugging Face hub has no ${lacking}: check the names and the revision.`, options);
  return new HubError(
    `${lacking} could not be fetched from the Hugging Face hub (${reasonOf(error)}), and are not in the cache ${cacheFolder}. ` +
      'Connect to the network once, copy the cache from another machine, or give the path of a local file.',
    options,
  );
}
