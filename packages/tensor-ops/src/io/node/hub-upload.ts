/** A folder becomes a commit of a model repository on the Hugging Face hub. What the hub has already is not sent again. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { PathInfo } from '@huggingface/hub';
import { ArgumentError } from '../../errors.js';
import { type Access, accessOf, checkRepository, HubError, hubHash, reasonOf, statusOf } from './hub-access.js';
import { type Hub, loadHub } from './hub-client.js';

/** How a folder is sent, and as whom. */
export interface HubUploadOptions {
  /** Access token that may write (default: environment variable `HF_TOKEN`, else what `hf auth login` has stored). */
  token?: string;
  /** Address of the hub (default: environment variable `HF_ENDPOINT`, else the public hub). */
  hubUrl?: string;
  /** Message of the commit. */
  message: string;
  /** Who may see a repository that is made (default private); one that is there stays what it is. */
  visibility?: 'private' | 'public';
  /** Only ask what would be sent. */
  dryRun?: boolean;
  /** Called with the share of a large file that has arrived. */
  onProgress?: (file: string, share: number) => void;
  /** Ends the upload; large files that have arrived whole are not sent again next time. */
  signal?: AbortSignal;
}

/** A file of the folder, and what the repository has at its path. */
export interface HubUploadFile {
  path: string;
  size: number;
  state: 'new' | 'changed' | 'same';
}

/** What was sent, or would be. */
export interface HubUpload {
  /** Page of the repository. */
  url: string;
  /** Whether the repository is, or would be, made. */
  isNew: boolean;
  files: HubUploadFile[];
  /** The commit; none in a dry run, or where all files are there already. */
  commit?: string;
}

/**
 * Sends files of a folder to a model repository, which is made if it is not there; all or none of them become visible.
 *
 * @param repository such as `owner/model`
 * @param folder that holds the files
 * @param files paths in it, with `/`
 * @throws ArgumentError for a name that is none
 * @throws HubError if the library or a token is missing, the hub cannot be reached, or it refuses
 */
export async function uploadToHub(
  repository: string,
  folder: string,
  files: readonly string[],
  options: HubUploadOptions,
): Promise<HubUpload> {
  checkRepository('uploadToHub', repository);
  if (!repository.includes('/')) throw new ArgumentError('uploadToHub: repository', 'a name with its owner, "owner/model"', repository);
  const access = accessOf(options);
  if (access.accessToken === undefined)
    throw new HubError('The hub wants to know who sends: set HF_TOKEN to a token that may write, or log in once with "hf auth login".');
  const hub = await loadHub(`${repository} is sent to the Hugging Face hub`);
  try {
    return await new Upload(hub, repository, folder, { ...access, accessToken: access.accessToken }, options).run(files);
  } catch (error) {
    options.signal?.throwIfAborted();
    throw explained(error, repository);
  }
}

class Upload {
  constructor(
    private readonly hub: Hub,
    private readonly repository: string,
    private readonly folder: string,
    private readonly access: Access & { accessToken: string },
    private readonly options: HubUploadOptions,
  ) {}

  async run(paths: readonly string[]): Promise<HubUpload> {
    await this.checkOwner();
    const { hubUrl = 'https://huggingface.co' } = this.access;
    const head = await this.head();
    const known =
      head === undefined ? [] : await this.hub.pathsInfo({ repo: this.repository, paths: [...paths], revision: head, ...this.access });
    const files = await Promise.all(paths.map((file) => this.compared(file, known)));
    const result: HubUpload = { url: `${hubUrl}/${this.repository}`, isNew: head === undefined, files };
    const changed = files.filter(({ state }) => state !== 'same');
    if (this.options.dryRun === true || changed.length === 0) return result;
    if (head === undefined) await this.create();
    return { ...result, commit: await this.commit(changed, head) };
  }

  /** @throws HubError if the token is not of the repository's owner */
  private async checkOwner(): Promise<void> {
    const [owner] = this.repository.split('/');
    const who = await this.hub.whoAmI(this.access);
    const names = [who.name, ...('orgs' in who ? who.orgs.map(({ name }) => name) : [])];
    if (!names.includes(owner)) throw new HubError(`The token is one of ${names.join(', ')}, and may not write to ${this.repository}.`);
    if (who.auth.accessToken?.role === 'read')
      throw new HubError('The token may only read. Make one that may write, and set HF_TOKEN to it.');
  }

  /** The newest commit; undefined if there is no repository. */
  private async head(): Promise<string | undefined> {
    try {
      return (await this.hub.modelInfo({ name: this.repository, additionalFields: ['sha'], ...this.access })).sha;
    } catch (error) {
      if (statusOf(error) === 404) return undefined;
      throw error;
    }
  }

  private async compared(file: string, known: readonly PathInfo[]): Promise<HubUploadFile> {
    const local = path.join(this.folder, file);
    const { size } = await fs.stat(local);
    const there = known.find((info) => info.path === file);
    if (there === undefined) return { path: file, size, state: 'new' };
    const large = there.lfs !== undefined && there.lfs !== null;
    const same = (there.lfs?.size ?? there.size) === size && (await hubHash(local, size, large)) === (there.lfs?.oid ?? there.oid);
    return { path: file, size, state: same ? 'same' : 'changed' };
  }

  private async create(): Promise<void> {
    const { visibility = 'private' } = this.options;
    try {
      await this.hub.createRepo({ repo: this.repository, visibility, ...this.access });
    } catch (error) {
      // An earlier attempt has made it.
      if (statusOf(error) !== 409) throw error;
    }
  }

  /** @param head commit that the files were compared with: the hub refuses if there is a newer one */
  private async commit(files: readonly HubUploadFile[], head: string | undefined): Promise<string> {
    const { message, signal, onProgress } = this.options;
    const events = this.hub.commitIter({
      repo: this.repository,
      title: message,
      operations: files.map(({ path: file }) => ({
        operation: 'addOrUpdate',
        path: file,
        content: pathToFileURL(path.resolve(this.folder, file)),
      })),
      ...(head !== undefined && { parentCommit: head }),
      ...(signal !== undefined && { abortSignal: signal }),
      ...this.access,
    });
    for (;;) {
      const { done, value } = await events.next();
      if (done) return value!.commit.oid;
      if (value.event === 'fileProgress' && value.state === 'uploading') onProgress?.(value.path, value.progress);
    }
  }
}

function explained(error: unknown, repository: string): unknown {
  if (HubError.isInstance(error)) return error;
  const options = { cause: error };
  const status = statusOf(error);
  if (status === 401 || status === 403)
    return new HubError(`The hub does not let this token write to ${repository} (${reasonOf(error)}).`, options);
  if (status === 412)
    return new HubError(
      `Somebody has changed ${repository} meanwhile. Nothing was changed by this command; look at it, and try again.`,
      options,
    );
  return new HubError(
    `${repository} could not be sent to the Hugging Face hub (${reasonOf(error)}). The same command goes on: large files that have arrived are not sent again.`,
    options,
  );
}
