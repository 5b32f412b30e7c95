/** The server under load, in a process of its own, so that its memory can be watched and a crash would be seen. */
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { bundleProgram, type Running } from '@dit-moe/kit/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeTinyModel } from '../../../../packages/pipeline/src/testing/tiny-model.js';
import { buildWeb } from '../web/build.js';

/** Clients at once, all from one address: fewer than one may have connections. */
const CLIENTS = 200;
/** Storms in a round that is measured; `LOAD_STORMS` makes more. */
const STORMS = Number(process.env['LOAD_STORMS'] ?? 5);
/** Bytes that a round may add to the resident memory. */
const MOST_GROWTH = 60e6;
/** Half of the ten seconds after which the server cuts off whoever is slow or silent: nobody waited for that. */
const PROMPT_MS = 5000;
const root = fs.mkdtempSync(path.join(os.tmpdir(), 'load-'));
let running: Running;
let port: number;
let url: string;

/** Resident memory of the server in bytes. */
const residentBytes = (): number => 1024 * Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${running.child.pid}/status`, 'utf8'))![1]);

beforeAll(async () => {
  await writeTinyModel(path.join(root, 'tiny.safetensors'));
  await buildWeb(path.join(root, 'web'));
  const start = await bundleProgram(new URL('../cli.ts', import.meta.url), root);
  running = start(['serve', path.join(root, 'tiny.safetensors'), '--port', '0', '--json', '--backend', 'tensorflow']);
  url = await new Promise<string>((resolve, reject) => {
    running.child.stdout.on('data', (text) => resolve(JSON.parse(String(text)).address));
    void running.ended.then(({ err }) => reject(new Error(err)));
  });
  port = Number(new URL(url).port);
});
afterAll(async () => {
  running.child.kill('SIGTERM');
  const { code, err } = await running.ended;
  fs.rmSync(root, { recursive: true });
  expect(err).not.toMatch(/\bat .*:\d+:\d+/);
  expect(code).toBe(0);
});

const post = (body: string, signal?: AbortSignal): Promise<Response> =>
  fetch(`${url}api/samples`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body, signal });
let seed = 0;
/** One that nobody has asked for: what was asked before is not computed again. */
const request = (more: object = {}): string => JSON.stringify({ model: 'tiny', labels: [0, 1], steps: 2, seed: seed++, ...more });

/** The code of an answer that comes over a connection of its own. */
const postAlone = (body: string): Promise<number | undefined> =>
  new Promise((resolve, reject) => {
    const headers = { 'Content-Type': 'application/json' };
    const asked = http.request(`${url}api/samples`, { method: 'POST', headers, agent: false }, (response) => {
      response.on('end', () => resolve(response.statusCode)).resume();
    });
    asked.on('error', reject).end(body);
  });

/** What the server says on a raw connection until it closes it. */
function raw(text: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(text));
    let answer = '';
    socket.on('data', (chunk) => (answer += chunk));
    socket.on('error', () => resolve(answer));
    socket.on('close', () => resolve(answer));
  });
}

/** All kinds of clients at once. */
async function storm(): Promise<Record<string, number>> {
  const codes: Record<string, number> = {};
  const count = (key: string | number) => (codes[key] = (codes[key] ?? 0) + 1);
  await Promise.all(
    Array.from({ length: CLIENTS }, async (_, i) => {
      if (i % 5 === 0) {
        // Goes away in the middle.
        const controller = new AbortController();
        const leave = setTimeout(() => controller.abort(), 20 + (i % 7) * 20);
        await post(request({ labels: Array(32).fill(2), steps: 100 }), controller.signal)
          .then((response) => response.text())
          .catch(() => undefined);
        clearTimeout(leave);
        return count('left');
      }
      if (i % 5 === 1) return count((await post(['{', '[1]', '"x"', '{"model":1}', '\u0000'][i % 5])).status);
      if (i % 5 === 2) {
        const response = await fetch(url + ['', 'main.js', 'api/models', 'nothing'][i % 4]);
        await response.arrayBuffer();
        return count(response.status);
      }
      const response = await post(request());
      const text = await response.text();
      if (response.status === 200) expect(JSON.parse(text.trimEnd().split('\n').at(-1)!).type).toBe('done');
      return count(response.status);
    }),
  );
  return codes;
}

test(`${CLIENTS} clients at once, again and again: right codes, no crash, memory flat`, async () => {
  // The first storms fill caches: connections, compiled steps of each shape, the allocator.
  for (let i = 0; i < 3; i++) await storm();
  const all: Record<string, number> = {};
  let [storms, growth] = [0, Number.POSITIVE_INFINITY];
  // A leak grows in every round, garbage and pools do not: the smallest of three counts, and no more are run than it takes.
  for (let round = 0; round < 3 && growth >= MOST_GROWTH; round++) {
    const before = residentBytes();
    for (const end = storms + STORMS; storms < end; storms++)
      for (const [code, n] of Object.entries(await storm())) all[code] = (all[code] ?? 0) + n;
    growth = Math.min(growth, residentBytes() - before);
  }
  expect(Object.keys(all).sort()).toEqual(['200', '400', '404', '429', 'left']);
  expect(all['400']).toBe(storms * (CLIENTS / 5));
  expect(all['404']).toBe(storms * (CLIENTS / 20));
  // Of those who stay, some are served and the others told to come back; files are always served.
  expect(all['200'] + all['429']).toBe(storms * (CLIENTS - 2 * (CLIENTS / 5) - CLIENTS / 20));
  expect(all['200']).toBeGreaterThan(storms * (CLIENTS / 5) * 0.75);
  expect(growth).toBeLessThan(MOST_GROWTH);
  expect((await post(request())).status).toBe(200);
});

test('slow clients are cut off, and hold up nobody', async () => {
  const head = `POST /api/samples HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n`;
  const slow = [...Array.from({ length: 20 }, () => raw(head)), ...Array.from({ length: 20 }, () => raw(`${head}\r\n{"model":`))];
  const started = performance.now();
  expect(await postAlone(request())).toBe(200);
  expect(performance.now() - started).toBeLessThan(PROMPT_MS);
  const answers = await Promise.all(slow);
  for (const answer of answers) expect(answer).toMatch(/^HTTP\/1\.1 408 /);
});

test('one who takes nothing of a long answer holds up nobody', async () => {
  const body = request({ labels: Array(64).fill(0), steps: 100 });
  const lazy = net.connect(port, '127.0.0.1', () =>
    lazy.write(
      `POST /api/samples HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    ),
  );
  lazy.pause();
  await new Promise((resolve) => setTimeout(resolve, 300));
  const response = await post(request());
  expect(JSON.parse((await response.text()).trimEnd().split('\n').at(-1)!).type).toBe('done');
  lazy.destroy();
});

test('1,100 who connect, send nothing and never close keep nobody out, and are gone after their time', async () => {
  const silent = await Promise.all(
    Array.from(
      { length: 1100 },
      () =>
        new Promise<net.Socket>((resolve) => {
          const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true }, () => resolve(socket));
          socket.on('error', () => resolve(socket));
        }),
    ),
  );
  const started = performance.now();
  expect(await postAlone(request())).toBe(200);
  expect(performance.now() - started).toBeLessThan(PROMPT_MS);
  const established = (): number => {
    const hex = port.toString(16).toUpperCase().padStart(4, '0');
    const rows = fs.readFileSync(`/proc/${running.child.pid}/net/tcp`, 'utf8').split('\n');
    // Connections of the server (local port) that are not closed yet.
    return rows.filter((row) => new RegExp(`^\\s*\\d+: [0-9A-F]+:${hex} [0-9A-F]+:[0-9A-F]{4} 0[18]`).test(row)).length;
  };
  // Cut off after ten seconds, long before the two minutes that a connection may stand idle otherwise.
  while (established() > 2 && performance.now() - started < 20_000) await new Promise((resolve) => setTimeout(resolve, 250));
  expect(established()).toBeLessThanOrEqual(2);
  for (const socket of silent) socket.destroy();
});
