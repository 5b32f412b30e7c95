/** An evaluation by several processes of one job: the numbers of one process, said once. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { bundleProgram } from '@dit-moe/kit/testing';
import { encodeNpz } from '@dit-moe/tensor-ops/io';
import { freePort } from '@dit-moe/tensor-ops/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { EvaluationRecord } from './evaluate.js';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'evaluate-ranks-'));
let start: Awaited<ReturnType<typeof bundleProgram>>;

/** Grey pictures of the brightness of a set; `count` is no multiple of what processes take at once. */
async function writeSet(name: string, count: number, brightness: number): Promise<string> {
  const data = Uint8Array.from({ length: count * 64 }, (_, i) => brightness + ((i * 7919) % 91));
  const file = path.join(folder, name);
  fs.writeFileSync(file, await encodeNpz(new Map([['arr_0', { dtype: 'U8', shape: [count, 8, 8, 1], data }]])));
  return file;
}
let samples: string;
let reference: string;
beforeAll(async () => {
  samples = await writeSet('samples.npz', 45, 60);
  reference = await writeSet('reference.npz', 70, 40);
  start = await bundleProgram(new URL('../cli.ts', import.meta.url));
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

const options = ['--network', 'pixels', '--batch', '8', '--threads', '1', '--json'];
const evaluation = (env: NodeJS.ProcessEnv = {}, ...more: string[]) =>
  start(['evaluate', samples, reference, ...options, ...more], { env }).ended;
async function ranks(count: number, moreOf: (rank: number) => string[] = () => []) {
  const port = String(await freePort());
  const variables = (rank: number) => ({ RANK: String(rank), WORLD_SIZE: String(count), MASTER_ADDR: '127.0.0.1', MASTER_PORT: port });
  return Promise.all(
    Array.from({ length: count }, (_, rank) =>
      evaluation(variables(rank), '--backend', 'tensorflow', '--accept-open-port', ...moreOf(rank)),
    ),
  );
}

test('three processes give the numbers of one, with the same bits', async () => {
  const alone = await evaluation({}, '--backend', 'tensorflow');
  const [first, ...others] = await ranks(3);
  for (const { code, err } of [alone, first, ...others]) expect({ code, err: code === 0 ? '' : err }).toEqual({ code: 0, err: '' });
  const [expected, found] = [alone, first].map(({ out }) => JSON.parse(out) as EvaluationRecord);
  expect(found.metrics).toEqual(expected.metrics);
  expect(found.samples).toEqual(expected.samples);
  for (const { out } of others) expect(out).toBe('');
});

test('processes that evaluate something else, and a backend of one process, are refused', async () => {
  for (const { code, err } of await ranks(2, (rank) => (rank === 1 ? ['--limit', '20'] : []))) {
    expect(code).toBe(9);
    expect(err).toMatch(/evaluation is \w+ on rank 0 and \w+ on rank 1/);
  }
  const { code, err } = await evaluation({ RANK: '0', WORLD_SIZE: '2', MASTER_ADDR: '127.0.0.1', MASTER_PORT: '1' }, '--backend', 'cpu');
  expect(code).toBe(2);
  expect(err).toMatch(/--backend cpu cannot compute as one of 2 processes \(torchrun\)/);
});
