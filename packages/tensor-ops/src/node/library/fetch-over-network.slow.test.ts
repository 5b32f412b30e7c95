/** Python's own package client against an index on the loopback interface that does what networks do. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { strToU8, zipSync } from 'fflate';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { fetchLibrary } from './fetch.js';
import { TENSORFLOW_VERSION, type Wheel } from './wheels.js';

const members = ['tensorflow/libtensorflow_cc.so.2', 'tensorflow/libtensorflow_framework.so.2'];
const info = `tensorflow_cpu-${TENSORFLOW_VERSION}.dist-info`;
const file = `tensorflow_cpu-${TENSORFLOW_VERSION}-cp311-cp311-manylinux_2_27_x86_64.whl`;
const bytes = zipSync(
  {
    [members[0]]: new Uint8Array(300_000).map((_, i) => (i * i) % 251),
    [members[1]]: new Uint8Array(1000).fill(7),
    [`${info}/METADATA`]: strToU8(`Metadata-Version: 2.1\nName: tensorflow-cpu\nVersion: ${TENSORFLOW_VERSION}\n`),
    [`${info}/WHEEL`]: strToU8('Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp311-cp311-manylinux_2_27_x86_64\n'),
    [`${info}/RECORD`]: strToU8(''),
  },
  { level: 0 },
);
const wheel: Wheel = {
  ...{ project: 'tensorflow-cpu', version: TENSORFLOW_VERSION, platform: 'manylinux_2_27_x86_64', members },
  sha256: createHash('sha256').update(bytes).digest('hex'),
};

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'fetch-'));
/** What the index does with the wheel. */
let answer: (response: http.ServerResponse) => void;
const server = http.createServer((request, response) => {
  if (request.url === '/simple/tensorflow-cpu/')
    return response.setHeader('content-type', 'text/html').end(`<a href="/${file}">${file}</a>`);
  if (request.url === `/${file}`) return answer(response);
  response.writeHead(404).end();
});
const whole = (response: http.ServerResponse, content = bytes) => response.setHeader('content-length', content.length).end(content);

beforeAll(async () => {
  fs.mkdirSync(bin);
  if (python !== undefined) fs.symlinkSync(python, path.join(bin, 'python3'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(() => {
  server.close();
  fs.rmSync(root, { recursive: true });
});
afterEach(() => vi.unstubAllEnvs());

/** The one Python that is tried. */
const python = (() => {
  try {
    return execFileSync('python3', ['-c', 'import sys, pip; print(sys.executable)'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return undefined;
  }
})();
const hasPip = python !== undefined;
const bin = path.join(root, 'bin');

async function fetchFrom(respond: typeof answer): Promise<{ parent: string; error?: { code: string; message: string } }> {
  answer = respond;
  const index = `http://127.0.0.1:${(server.address() as AddressInfo).port}/simple`;
  const settings = {
    PIP_INDEX_URL: index,
    PIP_EXTRA_INDEX_URL: '',
    PIP_FIND_LINKS: '',
    PIP_NO_CACHE_DIR: '1',
    PIP_RETRIES: '0',
    PIP_CONFIG_FILE: os.devNull,
    PATH: bin,
  };
  for (const [name, value] of Object.entries(settings)) vi.stubEnv(name, value);
  const parent = fs.mkdtempSync(path.join(root, 'cache-'));
  try {
    await fetchLibrary({ kind: 'cpu', wheels: [wheel], layout: 'flat' }, path.join(parent, 'cpu'));
    return { parent };
  } catch (error) {
    return { parent, error: error as { code: string; message: string } };
  }
}

test.skipIf(!hasPip)('a wheel that arrives whole is unpacked', async () => {
  const { parent, error } = await fetchFrom((response) => whole(response));
  expect(error).toBeUndefined();
  expect(fs.readdirSync(path.join(parent, 'cpu')).sort()).toEqual([
    'libtensorflow_cc.so.2',
    'libtensorflow_framework.so.2',
    'manifest.json',
  ]);
});

test.skipIf(!hasPip).each<[string, typeof answer, string, RegExp]>([
  [
    'a connection that breaks in the middle',
    (response) => {
      response.setHeader('content-length', bytes.length).write(bytes.subarray(0, bytes.length / 2));
      setTimeout(() => response.destroy(), 50);
    },
    'E_LIBRARY_DOWNLOAD',
    /With a network and Python's pip this command must work: python3 -m pip download/,
  ],
  [
    'a wheel of other content',
    (response) => whole(response, Uint8Array.from(bytes).fill(1, 1000, 1001)),
    'E_LIBRARY_DAMAGED',
    /has the SHA-256 .*, expected .*pip cache purge/,
  ],
])('%s leaves nothing', async (_, respond, code, message) => {
  const { parent, error } = await fetchFrom(respond);
  expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
  expect(fs.readdirSync(parent)).toEqual([]);
});
