import fs from 'node:fs';
import path from 'node:path';
import { normalRows } from '@dit-moe/tensor-ops';
import { startBackend } from '@dit-moe/tensor-ops/node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openHeldOut } from '../data/held-out.js';
import { openData } from '../data/open.js';
import { checkpointBytes, curveOf, makeRoot, metricsLines, runTiny, tinyConfig } from '../testing/tiny-run.js';
import { bucketName, tripleOf, type ValidationLoss } from './validation.js';

const { root, images, newRun } = makeRoot();
beforeAll(async () => void (await startBackend('tensorflow')));
afterAll(() => fs.rmSync(root, { recursive: true }));
const held = 'validation={share: 0.34, every: 2, samples: 70, buckets: 2, seed: 5}';
const config = (...overrides: string[]) => tinyConfig(images, held, ...overrides);
const validations = (out: string): ValidationLoss[] => metricsLines(out).flatMap(({ validation }) => validation ?? []);

describe('the triples', () => {
  test.each([
    [2, 4, 70],
    [72, 4, 1000],
    [6, 4, 24],
    [50_000, 8, 1000],
    [3, 10, 30],
  ])('of %i images and %i parts of the times: of %i each image and each part has its share', (count, buckets, samples) => {
    const triples = Array.from({ length: samples }, (_, k) => tripleOf(k, { samples, buckets }, count));
    const counted = (key: 'record' | 'bucket') => {
      const counts = new Map<number, number>();
      for (const triple of triples) counts.set(triple[key], (counts.get(triple[key]) ?? 0) + 1);
      return [...counts.values()];
    };
    expect(counted('bucket')).toHaveLength(buckets);
    expect(Math.max(...counted('bucket')) - Math.min(...counted('bucket'))).toBeLessThanOrEqual(1);
    expect(counted('record')).toHaveLength(Math.min(count, samples));
    expect(Math.max(...counted('record')) - Math.min(...counted('record'))).toBeLessThanOrEqual(2);
    // Every image at every time, as soon as there are enough triples.
    if (count * buckets <= samples) expect(new Set(triples.map(({ record, bucket }) => `${record} ${bucket}`)).size).toBe(count * buckets);
  });
});

/** Steps so small that the model stays what it is at first: its output is zero. */
const still = 'optimizer.learningRate=1e-30';

test.each<[string, string[], (x: Float32Array, noise: Float32Array, i: number) => number]>([
  ['flow', ['objective.kind=flow'], (x, noise, i) => (noise[i] - x[i]) ** 2],
  ['noise', ['objective={kind: ddpm, learnSigma: false}'], (_, noise, i) => noise[i] ** 2],
])('the loss of a model whose output is zero is known: %s', async (_, overrides, squared) => {
  const settings = config(still, ...overrides);
  const out = newRun();
  await runTiny(settings, out);
  const source = await openHeldOut(settings, await openData(settings));
  const indices = Array.from({ length: 70 }, (_, k) => k);
  const triples = indices.map((k) => tripleOf(k, { samples: 70, buckets: 2 }, source.count));
  const x = new Float32Array(70 * 16);
  await source.read(
    triples.map(({ record }, index) => ({ record, index, flip: false })),
    x,
  );
  const noise = normalRows({ seed: 5, purpose: 'validation-noise', indices }, 16);
  const byTime = [0, 1].map((bucket) => {
    const mine = indices.filter((k) => triples[k].bucket === bucket);
    return (
      mine.flatMap((k) => Array.from({ length: 16 }, (_, p) => squared(x, noise, 16 * k + p))).reduce((a, b) => a + b) / mine.length / 16
    );
  });
  const found = validations(out);
  expect(found).toHaveLength(2);
  for (const { loss, byTime: parts } of found) {
    // Means of float32 squares, 16 at a time.
    for (const [b, part] of parts.entries()) expect(Math.abs(part / byTime[b] - 1)).toBeLessThan(1e-6);
    expect(loss).toBeCloseTo((parts[0] + parts[1]) / 2, 12);
  }
});

test('depends neither on the model nor on batch, seed, sampling of times or memory of the run', async () => {
  const losses: ValidationLoss[][] = [];
  for (const overrides of [
    [],
    ['model.hiddenSize=16', 'model.moe=null'],
    ['batchSize=2', 'accumulation=2', 'seed=9'],
    ['objective.times={distribution: uniform}', 'data.memory=0', 'data.flip=true'],
  ]) {
    const out = newRun();
    await runTiny(config(still, ...overrides), out);
    losses.push(validations(out));
  }
  for (const loss of losses) expect(loss).toEqual(losses[0]);
  const other = newRun();
  await runTiny(config(still, 'validation.seed=6'), other);
  expect(validations(other)).not.toEqual(losses[0]);
});

test('a run that measures it is, resumed, bit for bit the uninterrupted one, and trains as one that does not measure; another share is refused', async () => {
  const [whole, parts] = [newRun(), newRun()];
  const { messages } = await runTiny(config('steps=5', 'optimizer.learningRate=1e-2'), whole);
  await runTiny(config('steps=3', 'optimizer.learningRate=1e-2'), parts);
  await runTiny(config('steps=5', 'optimizer.learningRate=1e-2'), parts, { resume: true });
  for (const file of ['weights', 'ema', 'optimizer', 'telemetry'])
    expect(checkpointBytes(parts, 5, file).equals(checkpointBytes(whole, 5, file)), file).toBe(true);
  // The line of the step at which the first part ended has one more.
  const steps = (out: string) => metricsLines(out).filter(({ step }) => step !== 3);
  expect(steps(parts).map(({ validation }) => validation)).toEqual(steps(whole).map(({ validation }) => validation));
  expect(curveOf(parts)).toEqual(curveOf(whole));
  expect(metricsLines(whole).map(({ validation }) => validation !== undefined)).toEqual([false, true, false, true, true]);
  expect(messages).toContainEqual(expect.stringMatching(/^held out: 6 images/));
  expect(messages).toContainEqual(expect.stringMatching(/^step 4: held-out loss \d\.\d{4}$/));
  const report = fs.readFileSync(path.join(whole, 'report.html'), 'utf8');
  expect(report).toMatch(/<h2>Held-out loss<\/h2>[\s\S]*held-out loss by time/);
  const events = fs.readdirSync(whole).find((name) => name.startsWith('events.out.tfevents.'))!;
  const bytes = fs.readFileSync(path.join(whole, events), 'latin1');
  for (const tag of ['validation/loss', 'validation/loss/times-0-0.5', 'validation/loss/times-0.5-1']) expect(bytes).toContain(tag);
  const seldom = newRun();
  await runTiny(config('steps=5', 'optimizer.learningRate=1e-2', 'validation.every=1000'), seldom);
  expect(checkpointBytes(seldom, 5, 'weights').equals(checkpointBytes(whole, 5, 'weights'))).toBe(true);
  await expect(runTiny(config('steps=6', 'optimizer.learningRate=1e-2', 'validation.share=0.5'), whole, { resume: true })).rejects.toThrow(
    /validation\.share: 0\.34 in the run, 0\.5 now/,
  );
});

test('parts of the times are named by their bounds', () => {
  expect([0, 1, 2].map((b) => bucketName(b, 3))).toEqual(['0-0.333', '0.333-0.667', '0.667-1']);
});
