import { createHash } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type HubUploadOptions, uploadToHub } from './index.js';

const TOKEN = 'hf_secret_of_this_test';
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const gitHash = (bytes: Uint8Array): string => createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');

interface Stored {
  oid: string;
  size: number;
  large: boolean;
}

/** A hub on this machine that keeps one repository: the endpoints that an upload uses. */
class FakeHub {
  repository: { commits: number; private: boolean; files: Map<string, Stored> } | undefined;
  /** Contents of large files, by hash. */
  large = new Map<string, Buffer>();
  requests: string[] = [];
  role = 'write';
  /** Answers of these requests are this status. */
  refuse: { request: RegExp; status: number } | undefined;
  private readonly server = http.createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const { status, value } = this.answer(request, Buffer.concat(chunks));
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(value === undefined ? '' : JSON.stringify(value));
  });

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
  }
  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }
  stop(): Promise<void> {
    this.server.closeAllConnections();
    return new Promise((resolve) => this.server.close(() => resolve()));
  }
  get head(): string {
    return String(this.repository!.commits).padStart(40, '0');
  }

  private answer(request: http.IncomingMessage, body: Buffer): { status: number; value?: unknown } {
    const { pathname } = new URL(request.url!, this.url);
    const what = `${request.method} ${pathname}`;
    this.requests.push(what);
    const json = (value: unknown, status = 200) => ({ status, value });
    const refused = this.refuse?.request.test(what) === true;
    if (refused) return json({ error: 'refused' }, this.refuse!.status);
    if (pathname.startsWith('/store/')) {
      if (request.headers.authorization !== undefined) return json({ error: 'the token is no business of the store' }, 400);
      this.large.set(sha256(body), body);
      return { status: 200 };
    }
    if (request.headers.authorization !== `Bearer ${TOKEN}`) return json({ error: 'Invalid username or password.' }, 401);
    const read = () => JSON.parse(body.toString());
    if (what === 'GET /api/whoami-v2')
      return json({ name: 'me', type: 'user', orgs: [{ name: 'team' }], auth: { type: 'access_token', accessToken: { role: this.role } } });
    if (what === 'POST /api/repos/create') {
      if (this.repository !== undefined) return json({ error: 'You already created this model repo' }, 409);
      this.repository = { commits: 1, private: read().visibility === 'private', files: new Map() };
      return json({ url: `${this.url}/me/model`, id: '1' });
    }
    const repository = this.repository;
    if (repository === undefined) return json({ error: 'Repository not found' }, 404);
    if (pathname.startsWith('/api/models/me/model/revision/')) return json({ _id: '1', id: 'me/model', sha: this.head });
    if (pathname.startsWith('/api/models/me/model/paths-info/'))
      return json(
        [...repository.files].flatMap(([file, { oid, size, large }]) =>
          read().paths.includes(file) ? [{ path: file, type: 'file', size, oid, ...(large && { lfs: { oid, size } }) }] : [],
        ),
      );
    if (pathname === '/api/models/me/model/preupload/main')
      return json({
        files: read().files.map(({ path }: { path: string }) => ({ path, uploadMode: path.endsWith('.safetensors') ? 'lfs' : 'regular' })),
      });
    if (pathname === '/me/model.git/info/lfs/objects/batch')
      return json({
        transfer: 'basic',
        objects: read().objects.map(({ oid, size }: Omit<Stored, 'large'>) => ({
          ...{ oid, size },
          ...(!this.large.has(oid) && { actions: { upload: { href: `${this.url}/store/${oid}?X-Amz-Signature=s1gn4ture`, header: {} } } }),
        })),
      });
    if (pathname === '/api/models/me/model/commit/main') {
      const [header, ...entries] = body
        .toString()
        .split('\n')
        .map((line) => JSON.parse(line));
      if (header.value.parentCommit !== undefined && header.value.parentCommit !== this.head) return json({ error: 'stale' }, 412);
      for (const { key, value } of entries) {
        const bytes = Buffer.from(value.content ?? '', 'base64');
        const stored = key === 'lfsFile' ? { oid: value.oid, size: value.size } : { oid: gitHash(bytes), size: bytes.length };
        repository.files.set(value.path, { ...stored, large: key === 'lfsFile' });
      }
      repository.commits++;
      return json({ success: true, commitOid: this.head, commitUrl: `${this.url}/me/model/commit/${this.head}`, hookOutput: '' });
    }
    return json({ error: `no such thing: ${what}` }, 404);
  }
}

let hub: FakeHub;
let folder: string;
const weights = Buffer.from(Uint8Array.from({ length: 200_000 }, (_, i) => (i * 7) % 251));
const files = ['README.md', 'more/samples.png', 'model.safetensors'];

beforeEach(async () => {
  hub = new FakeHub();
  await hub.start();
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'upload-'));
  fs.mkdirSync(path.join(folder, 'more'));
  fs.writeFileSync(path.join(folder, 'README.md'), '# a model');
  fs.writeFileSync(path.join(folder, 'more/samples.png'), 'not really');
  fs.writeFileSync(path.join(folder, 'model.safetensors'), weights);
});
afterEach(async () => {
  await hub.stop();
  vi.unstubAllEnvs();
  fs.rmSync(folder, { recursive: true });
});

const upload = (options: Partial<HubUploadOptions> = {}, repository = 'me/model') =>
  uploadToHub(repository, folder, files, { message: 'step 5', hubUrl: hub.url, token: TOKEN, ...options });
const states = (result: Awaited<ReturnType<typeof upload>>) => result.files.map(({ state }) => state);

test('a dry run tells what would be sent and changes nothing; then all is there, in one commit', async () => {
  const dry = await upload({ dryRun: true });
  expect(dry).toMatchObject({ isNew: true, url: `${hub.url}/me/model` });
  expect(dry.commit).toBeUndefined();
  expect(states(dry)).toEqual(['new', 'new', 'new']);
  expect(hub.repository).toBeUndefined();
  expect(hub.requests.every((what) => !/create|preupload|commit|store/.test(what))).toBe(true);
  const shares: number[] = [];
  const sent = await upload({ onProgress: (file, share) => file === 'model.safetensors' && shares.push(share) });
  expect(sent.commit).toBe(hub.head);
  expect(shares.at(-1)).toBe(1);
  expect(hub.repository).toMatchObject({ commits: 2, private: true });
  expect([...hub.repository!.files.keys()].sort()).toEqual([...files].sort());
  expect(hub.large.get(sha256(weights))?.equals(weights)).toBe(true);
});

test('what is there is not sent again; what has changed is', async () => {
  await upload({ visibility: 'public' });
  expect(hub.repository!.private).toBe(false);
  hub.requests = [];
  const again = await upload();
  expect([states(again), again.isNew, again.commit]).toEqual([['same', 'same', 'same'], false, undefined]);
  expect(hub.requests.some((what) => /commit|store/.test(what))).toBe(false);
  fs.writeFileSync(path.join(folder, 'README.md'), '# A model');
  const changed = await upload();
  expect([states(changed), hub.repository!.commits]).toEqual([['changed', 'same', 'same'], 3]);
  expect(hub.requests.some((what) => what.includes('store'))).toBe(false);
});

test('after a failure the same call goes on: the large file that has arrived is not sent again', async () => {
  hub.refuse = { request: /commit/, status: 503 };
  await expect(upload()).rejects.toThrow(/could not be sent .*The same command goes on/);
  expect(hub.repository!.files.size).toBe(0);
  hub.refuse = undefined;
  hub.requests = [];
  await upload();
  expect(hub.repository!.files.size).toBe(3);
  expect(hub.requests.some((what) => what.includes('store'))).toBe(false);
});

test('neither the token nor a signed address is in what is said of a failure', async () => {
  hub.refuse = { request: /store/, status: 403 };
  const error = await upload().catch((error: Error) => error);
  expect((error as Error).message).toMatch(/does not let this token write/);
  expect((error as Error).message).not.toMatch(/hf_secret|s1gn4ture/);
});

test.each<[string, Partial<HubUploadOptions>, string, RegExp]>([
  ['a token of somebody else', {}, 'other/model', /one of me, team, and may not write to other\/model/],
  ['a wrong token', { token: 'hf_wrong' }, 'me/model', /does not let this token write/],
  ['a hub that is not there', { hubUrl: 'http://127.0.0.1:2' }, 'me/model', /could not be sent .*fetch failed/],
  ['a name without an owner', {}, 'model', /a name with its owner/],
  ['what is no name', {}, '../model', /a name such as/],
])('%s is refused, and nothing is made', async (_, options, repository, message) => {
  await expect(upload(options, repository)).rejects.toThrow(message);
  expect(hub.repository).toBeUndefined();
});

test('a token that may only read, and a change by somebody else meanwhile', async () => {
  hub.role = 'read';
  await expect(upload()).rejects.toThrow(/may only read/);
  hub.role = 'write';
  await upload();
  fs.writeFileSync(path.join(folder, 'README.md'), '# A model');
  hub.refuse = { request: /commit/, status: 412 };
  await expect(upload()).rejects.toThrow(/changed me\/model meanwhile/);
});

test('the token comes from HF_TOKEN, else from the file of the hub’s own programs', async () => {
  const file = path.join(folder, 'token');
  vi.stubEnv('HF_TOKEN', undefined);
  vi.stubEnv('HF_TOKEN_PATH', file);
  const run = () => uploadToHub('me/model', folder, files, { message: 'a', hubUrl: hub.url, dryRun: true });
  await expect(run()).rejects.toThrow(/set HF_TOKEN/);
  fs.writeFileSync(file, `${TOKEN}\n`);
  expect(states(await run())).toEqual(['new', 'new', 'new']);
  vi.stubEnv('HF_TOKEN', 'hf_wrong');
  await expect(run()).rejects.toThrow(/does not let/);
});
