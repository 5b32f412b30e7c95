import { createHash } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { downloadFromHub, type HubProgress, takeLock } from './index.js';

const COMMIT = 'a'.repeat(40);
const NEXT_COMMIT = 'b'.repeat(40);
const weights = Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * 7) % 251);
const sha256 = createHash('sha256').update(weights).digest('hex');
const config = Buffer.from('{"depth": 2}');
const gitHash = createHash('sha1').update(`blob ${config.length}\0`).update(config).digest('hex');

/** A hub on this machine with one repository, and what it was asked. */
class FakeHub {
  commit = COMMIT;
  /** Bytes after which each of the next downloads breaks off. */
  cuts: number[] = [];
  content = weights;
  status = 0;
  requests: string[] = [];
  private readonly server = http.createServer((request, response) => this.answer(request, response));

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

  private answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    const url = new URL(request.url!, this.url);
    this.requests.push(`${request.method} ${url.pathname} ${request.headers.range ?? ''}`.trim());
    const json = (value: unknown, status = 200): void => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(value));
    };
    if (this.status !== 0) json({ error: 'refused' }, this.status);
    else if (url.pathname.startsWith('/api/models/owner/model/revision/'))
      json({ _id: '1', id: 'owner/model', sha: this.commit, lastModified: '2026-01-01' });
    else if (url.pathname.startsWith('/api/models/owner/model/paths-info/'))
      json([
        { path: 'config.json', type: 'file', oid: gitHash, size: config.length },
        {
          path: 'sub/model.safetensors',
          type: 'file',
          oid: 'c'.repeat(40),
          size: weights.length,
          lfs: { oid: sha256, size: weights.length },
        },
      ]);
    else this.file(request, response, url, json);
  }

  private file(
    request: http.IncomingMessage,
    response: http.ServerResponse,
    url: URL,
    json: (value: unknown, status: number) => void,
  ): void {
    const file = /^\/owner\/model\/resolve\/[0-9a-f]{40}\/(.+)$/.exec(url.pathname)?.[1];
    const bytes = file === 'config.json' ? config : file === 'sub/model.safetensors' ? this.content : undefined;
    if (bytes === undefined) {
      json({ error: 'Repository not found' }, 404);
      return;
    }
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
    const [start, end] = [Number(from ?? 0), to ? Number(to) + 1 : bytes.length];
    response.writeHead(from === undefined ? 200 : 206, {
      etag: `"${file}"`,
      'content-length': end - start,
      'content-range': `bytes ${start}-${end - 1}/${bytes.length}`,
    });
    const cut = end - start > 1 && file !== 'config.json' ? this.cuts.shift() : undefined;
    if (cut === undefined) response.end(bytes.subarray(start, end));
    else response.write(bytes.subarray(start, start + cut), () => setTimeout(() => response.destroy(), 20));
  }
}

let hub: FakeHub;
let cacheFolder: string;
const files = ['config.json', 'sub/model.safetensors'];
const fetchAll = (options = {}) => downloadFromHub('owner/model', files, { cacheFolder, hubUrl: hub.url, offline: false, ...options });

beforeEach(async () => {
  hub = new FakeHub();
  await hub.start();
  cacheFolder = fs.mkdtempSync(path.join(os.tmpdir(), 'hub-'));
});
afterEach(async () => {
  await hub.stop();
  fs.rmSync(cacheFolder, { recursive: true });
});

test("files lie in the hub's own cache layout and are found again offline", async () => {
  const seen: HubProgress[] = [];
  const folder = await fetchAll({ onProgress: (p: HubProgress) => seen.push(p) });
  const repository = path.join(cacheFolder, 'models--owner--model');
  expect(folder).toBe(path.join(repository, 'snapshots', COMMIT));
  expect(fs.readFileSync(path.join(folder, 'sub/model.safetensors')).equals(weights)).toBe(true);
  expect(fs.realpathSync(path.join(folder, 'sub/model.safetensors'))).toBe(fs.realpathSync(path.join(repository, 'blobs', sha256)));
  expect(fs.readlinkSync(path.join(folder, 'config.json'))).toBe(`../../blobs/${gitHash}`);
  expect(fs.readFileSync(path.join(repository, 'refs/main'), 'utf8')).toBe(COMMIT);
  expect(fs.readdirSync(path.join(repository, 'blobs')).sort()).toEqual([gitHash, sha256].sort());
  expect(seen.at(-1)).toEqual({ file: 'sub/model.safetensors', received: weights.length, total: weights.length });

  const asked = hub.requests.length;
  expect(await fetchAll({ revision: COMMIT })).toBe(folder);
  expect(await fetchAll({ offline: true })).toBe(folder);
  expect(hub.requests.length).toBe(asked);
  expect(await fetchAll({ hubUrl: 'http://127.0.0.1:9' })).toBe(folder);
});

test('a broken connection is continued where it stopped, in this call and in the next', async () => {
  hub.cuts = [1_000_000, 500_000];
  await fetchAll();
  const ranges = hub.requests.filter((r) => r.includes('model.safetensors bytes=') && !r.endsWith('bytes=0-0'));
  expect(ranges.length).toBe(2);
  expect(ranges[0]).toMatch(/bytes=\d{5,}-2999999$/);

  fs.rmSync(path.join(cacheFolder, 'models--owner--model'), { recursive: true });
  const abort = new AbortController();
  const onProgress = ({ received, total }: HubProgress) => void (total > 100 && received > 100_000 && abort.abort());
  await expect(fetchAll({ onProgress, signal: abort.signal })).rejects.toThrow(/abort/);
  const incomplete = path.join(cacheFolder, 'models--owner--model/blobs', `${sha256}.incomplete`);
  const kept = fs.statSync(incomplete).size;
  expect(kept).toBeGreaterThan(100_000);
  hub.requests = [];
  const folder = await fetchAll();
  expect(hub.requests.some((r) => r.endsWith(`bytes=${kept}-2999999`)) || kept === weights.length).toBe(true);
  expect(fs.readFileSync(path.join(folder, 'sub/model.safetensors')).equals(weights)).toBe(true);
});

test('of several at once one fetches a file, and the others wait for it', async () => {
  // Long enough under way for all to have begun.
  hub.cuts = [1_000_000, 500_000];
  const folders = await Promise.all([fetchAll(), fetchAll(), fetchAll()]);
  expect(new Set(folders).size).toBe(1);
  expect(fs.readFileSync(path.join(folders[0], 'sub/model.safetensors')).equals(weights)).toBe(true);
  const blobs = path.join(cacheFolder, 'models--owner--model/blobs');
  expect(fs.readdirSync(blobs).sort()).toEqual([gitHash, sha256].sort());
  // As often as by one alone, see above.
  const ranges = hub.requests.filter((r) => r.includes('model.safetensors bytes=') && !r.endsWith('bytes=0-0'));
  expect(ranges.length).toBe(2);
});

test('who waits for another process stops on request, and takes its place when it is gone', async () => {
  const blobs = path.join(cacheFolder, 'models--owner--model/blobs');
  fs.mkdirSync(blobs, { recursive: true });
  const lock = await takeLock(path.join(blobs, `${sha256}.lock`), 'the file');
  const abort = new AbortController();
  const waiting = fetchAll({ signal: abort.signal });
  const staying = fetchAll();
  await expect.poll(() => fs.existsSync(path.join(blobs, gitHash))).toBe(true);
  abort.abort();
  await expect(waiting).rejects.toThrow(/abort/);
  expect(fs.existsSync(path.join(blobs, `${sha256}.incomplete`))).toBe(false);
  await lock.release();
  expect(fs.readFileSync(path.join(await staying, 'sub/model.safetensors')).equals(weights)).toBe(true);
});

test('a new commit of the branch is fetched, blobs that did not change are not', async () => {
  await fetchAll();
  hub.commit = NEXT_COMMIT;
  hub.requests = [];
  const folder = await fetchAll();
  expect(path.basename(folder)).toBe(NEXT_COMMIT);
  expect(hub.requests.filter((r) => r.includes('/resolve/'))).toEqual([]);
  expect(fs.existsSync(path.join(folder, 'sub/model.safetensors'))).toBe(true);
});

test('damage, refusals, absence and a missing network are told apart', async () => {
  hub.content = weights.map((b, i) => (i === 5 ? b ^ 1 : b));
  await expect(fetchAll()).rejects.toThrow(/arrived damaged/);
  expect(fs.readdirSync(path.join(cacheFolder, 'models--owner--model/blobs'))).toEqual([gitHash]);
  await expect(downloadFromHub('owner/model', ['none.bin'], { cacheFolder, hubUrl: hub.url })).rejects.toThrow(/has no file none\.bin/);
  hub.status = 401;
  await expect(fetchAll()).rejects.toThrow(/HF_TOKEN/);
  hub.status = 404;
  await expect(fetchAll()).rejects.toThrow(/check the names/);
  await expect(fetchAll({ hubUrl: 'http://127.0.0.1:9' })).rejects.toMatchObject({
    code: 'E_HUB',
    message: expect.stringMatching(/network once/),
  });
  await expect(fetchAll({ offline: true })).rejects.toThrow(/switched off/);
});

test('names that would leave the cache are refused', async () => {
  await expect(downloadFromHub('../x', ['a'], { cacheFolder })).rejects.toThrow(/repository/);
  await expect(downloadFromHub('a/b', ['../../x'], { cacheFolder })).rejects.toThrow(/relative paths/);
  await expect(downloadFromHub('a/b', ['x'], { cacheFolder, revision: '../..' })).rejects.toThrow(/branch, tag or commit/);
});

test.each(['../../../../../outside', '/tmp/x', 'a'.repeat(39), `${'a'.repeat(40)}/..`, '', 'A'.repeat(40)])(
  'a commit that is none, %j, is refused before anything is written',
  async (commit) => {
    hub.commit = commit;
    await expect(fetchAll()).rejects.toThrow(/gives no commit for main/);
    expect(fs.readdirSync(cacheFolder, { recursive: true })).toEqual([]);
  },
);
