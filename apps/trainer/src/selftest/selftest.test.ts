/** The self-test finds what is wrong, and its report says so; its sections as a whole run by the command. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { startBackend } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { selftestCommand } from '../commands/selftest.js';
import { compare, difference, largestDifference } from './compare.js';
import { atMost, holds, measured } from './finding.js';
import { formatSelftest } from './report.js';
import { training } from './sections/training.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'selftest-'));
beforeAll(async () => {
  await startBackend('cpu');
  await startBackend('tensorflow');
});
afterAll(() => fs.rmSync(root, { recursive: true }));

test('differences are relative; other lengths, missing numbers and NaN are no agreement', () => {
  expect(difference([3, 4.5], [3, 4])).toBeCloseTo(0.1, 12);
  expect(difference([0, 0], [0, 0])).toBe(0);
  expect(difference([1], [1, 2])).toBeNaN();
  expect(largestDifference({ a: [1], b: [Number.NaN] }, { a: [1], b: [1] })).toBeNaN();
  expect(largestDifference({}, { a: [1] })).toBeNaN();
  expect([atMost('x', 1, 2), atMost('x', 3, 2), atMost('x', Number.NaN, 2)].map(({ passed }) => passed)).toEqual([true, false, false]);
});

test('a device that computes something else is found', async () => {
  const wrong = async () => ({ y: [tf.getBackend() === 'tensorflow' ? 1.001 : 1] });
  expect(await compare('y', 'f32', wrong)).toMatchObject({ passed: false, limit: 2e-5 });
  expect(await compare('y', 'bf16', wrong)).toMatchObject({ passed: true });
  expect(tf.getBackend()).toBe('tensorflow');
});

test('training agrees with plain JavaScript, and leaves nothing behind', async () => {
  const before = tf.memory().numTensors;
  for (const finding of await training('f32')) expect(finding).toMatchObject({ passed: true });
  expect(tf.memory().numTensors).toBe(before);
});

test('the report shows the worst of each limit, what failed and what was measured', () => {
  const findings = [
    atMost('a', 1e-7, 1e-5),
    atMost('b', 3e-6, 1e-5),
    atMost('c', 0.01, 0.05),
    measured('speed', '5 GFLOP/s'),
    holds('order', false, 'wrong'),
  ];
  const page = formatSelftest({
    ...{ passed: false, date: '2026-11-30T00:00:00Z', version: '1.0.0', machine: { system: 'linux' }, seconds: 61 },
    sections: [{ section: 'ops', seconds: 3, findings }],
  });
  expect(page).toContain('# Self-test: FAILED');
  expect(page).toContain('| Ops and their gradients | 5 | 0.000003 of 0.00001, 0.01 of 0.05 | 3.0 | FAILED |');
  expect(page).toMatch(/## Failed[\s\S]*order \| wrong[\s\S]*## Measured[\s\S]*speed \| 5 GFLOP\/s/);
});

test('PyTorch is compared with where Python has it', async () => {
  const python = path.join(root, 'python');
  fs.writeFileSync(python, '#!/bin/sh\necho \'{"version": "2.9 on cpu", "f32": 1, "bf16": 1, "call": 1e9}\'\n', { mode: 0o755 });
  vi.stubEnv('DIT_MOE_PYTHON', python);
  const print = vi.spyOn(console, 'log').mockReturnValue();
  const out = path.join(root, 'engine.json');
  expect(await selftestCommand({ only: ['engine'], out, json: false })).toBe(0);
  expect(print.mock.calls.join()).toMatch(/PyTorch 1\.00 \(\d+\.\d\d times as fast\)[\s\S]*PyTorch \| 2\.9 on cpu/);
  expect(JSON.parse(fs.readFileSync(out, 'utf8'))).toMatchObject({ passed: true, sections: [{ section: 'engine' }] });
  vi.unstubAllEnvs();
  print.mockRestore();
});

test('the cluster needs processes', async () => {
  await expect(selftestCommand({ only: ['cluster'], json: false })).rejects.toMatchObject({
    code: 'E_USAGE',
    message: expect.stringContaining('--processes'),
  });
});
