/** A profile of a run holds its ops, in both forms; a run that ends before it leaves nothing open. */
import fs from 'node:fs';
import path from 'node:path';
import { type TensorFlowRuntime, useTensorFlow } from '@dit-moe/tensor-ops/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeRoot, runTiny, tinyConfig } from '../testing/tiny-run.js';
import { type TraceEvent, traceEvents } from './trace-events.js';

const { root, images, newRun } = makeRoot();
let runtime: TensorFlowRuntime;
beforeAll(async () => {
  runtime = await useTensorFlow();
});
afterAll(async () => {
  await runtime.shutdown();
  fs.rmSync(root, { recursive: true });
});

test('two steps: the functions of both, their ops, and nothing before', async () => {
  const out = newRun();
  const { messages } = await runTiny(tinyConfig(images, 'steps=5'), out, { profile: 2 });
  expect(messages.join('\n')).toMatch(/profile of 2 steps: .*trace\.json/);
  const { traceEvents: events } = JSON.parse(fs.readFileSync(path.join(out, 'trace.json'), 'utf8')) as { traceEvents: TraceEvent[] };
  const named = (pattern: RegExp) => events.filter(({ name, ph }) => ph === 'X' && pattern.test(name));
  expect(named(/^EagerLocalExecute: gradients/)).toHaveLength(2);
  expect(named(/^EagerLocalExecute: update/)).toHaveLength(2);
  expect(named(/MatMul/).length).toBeGreaterThan(10);
  expect(events.every(({ ph, ts, dur }) => ph === 'M' || (ts! > 0 && dur! >= 0))).toBe(true);
  const [file] = fs.readdirSync(path.join(out, 'plugins', 'profile', 'step-3'));
  expect(file).toMatch(/\.xplane\.pb$/);
  expect(traceEvents(fs.readFileSync(path.join(out, 'plugins', 'profile', 'step-3', file)))).toEqual(events);
});

test('a run that is shorter is profiled to its end, and another one can be profiled after it', async () => {
  for (const steps of [3, 1]) {
    const out = newRun();
    await runTiny(tinyConfig(images, `steps=${steps}`), out, { profile: 50 });
    expect(fs.existsSync(path.join(out, 'trace.json'))).toBe(steps > 1);
  }
});
