/** What downloads from the Hugging Face hub and uploads to it share. */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { ArgumentError, DitMoeError } from '../../errors.js';

/** Files could not be had from the hub, or not be sent to it; the message says what to do. */
export class HubError extends DitMoeError {
  static override readonly code = 'E_HUB';
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** Where the hub is, and who asks. */
export interface Access {
  hubUrl?: string;
  accessToken?: string;
  fetch: typeof fetch;
}

/** @throws ArgumentError for what is no name of a repository */
export function checkRepository(caller: string, repository: string): void {
  if (!/^[\w.-]+(\/[\w.-]+)?$/.test(repository) || repository.includes('..'))
    throw new ArgumentError(`${caller}: repository`, 'a name such as "owner/model"', repository);
}

export function accessOf(options: { token?: string; hubUrl?: string; signal?: AbortSignal }): Access {
  const { signal } = options;
  const hubUrl = options.hubUrl ?? process.env['HF_ENDPOINT'];
  const accessToken = options.token ?? hubToken();
  return {
    fetch: (url, init) => fetch(url, signal === undefined ? init : { ...init, signal }),
    ...(hubUrl !== undefined && { hubUrl: hubUrl.replace(/\/$/, '') }),
    ...(accessToken !== undefined && { accessToken }),
  };
}

/** Folder of the hub's own programs: `HF_HOME`, else `huggingface` among the caches. */
export function hubHome(): string {
  const { HF_HOME, XDG_CACHE_HOME } = process.env;
  return HF_HOME ?? path.join(XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache'), 'huggingface');
}

/** The token of `HF_TOKEN`, else of the file in which `hf auth login` keeps it (`HF_TOKEN_PATH`). */
function hubToken(): string | undefined {
  const { HF_TOKEN, HF_TOKEN_PATH } = process.env;
  const file = HF_TOKEN_PATH ?? path.join(hubHome(), 'token');
  const token = HF_TOKEN ?? (fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '');
  return token.trim() === '' ? undefined : token.trim();
}

/** The hash by which the hub knows a file: sha256 of large ones, git's (sha1 with a header) of the others. */
export async function hubHash(file: string, size: number, large: boolean): Promise<string> {
  const hash = createHash(large ? 'sha256' : 'sha1');
  if (!large) hash.update(`blob ${size}\0`);
  for await (const chunk of fs.createReadStream(file, { highWaterMark: 2 ** 20 })) hash.update(chunk as Uint8Array);
  return hash.digest('hex');
}

/** Status of the hub's answer; undefined if it gave none. */
export const statusOf = (error: unknown): number | undefined => {
  const status = (error as { statusCode?: unknown } | undefined)?.statusCode;
  return typeof status === 'number' ? status : undefined;
};

/** Why something failed. Addresses lose what follows their "?": signed ones are keys. */
export function reasonOf(error: unknown): string {
  const { message, cause } = error as { message?: string; cause?: { code?: string; message?: string } };
  return [message, cause?.code ?? cause?.message]
    .filter(Boolean)
    .join(': ')
    .replace(/(https?:\/\/[^\s?]+)\?[^\s]*/g, '$1');
}
