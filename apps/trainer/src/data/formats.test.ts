/** Every format that can be trained on, through whole runs: classes, resuming, previews. */
import fs from 'node:fs';
import path from 'node:path';
import { LatentCache } from '@dit-moe/data/node';
import { startBackend } from '@dit-moe/tensor-ops/node';
import { ofChannels } from '@dit-moe/vae';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { encodeCommand } from '../commands/encode.js';
import { checkpointBytes, curveOf, makeRoot, metricsLines, runTiny, tinyConfig } from '../testing/tiny-run.js';
import { classesOf } from './classes.js';
import { openHeldOut } from './held-out.js';
import { openData } from './open.js';

const repository = path.join(import.meta.dirname, '../../../..');
const fixtures = path.join(repository, 'packages/data/test/fixtures');
const vae = path.join(repository, 'golden/vae/no_quant_conv');
const { root, images, newRun } = makeRoot();
const latents = path.join(root, 'latents');
beforeAll(async () => {
  await startBackend('tensorflow');
  const silent = [vi.spyOn(process.stderr, 'write').mockReturnValue(true), vi.spyOn(console, 'log').mockReturnValue()];
  const code = await encodeCommand({
    ...{ images, vae, out: latents, size: 16, crop: 'center', seed: 0, flip: true, applyOrientation: false, dtype: 'f16' },
    ...{ precision: 'f32', shardSize: 4, memory: 1, maxSkipped: 0, backend: 'tensorflow', json: true },
  });
  for (const spy of silent) spy.mockRestore();
  expect(code).toBe(0);
});
afterAll(() => fs.rmSync(root, { recursive: true }));

test.each([
  // Labels 7 and 3 without names, and a sample that is no image.
  ['WebDataset', path.join(fixtures, 'gnu.tar'), ['data.size=4', 'data.maxUnreadable=0.5'], ['0', '1', '2', '3', '4', '5', '6', '7'], 3],
  ['parquet', path.join(fixtures, 'train-*.parquet'), ['data.size=4', 'data.memory=0', 'data.flip=true'], ['cat', 'dog', 'newt'], 8],
  [
    'latents',
    latents,
    ['data.kind=latents', 'data.flip=true', `sampling.vae=${vae}`, 'evaluation={every: 3, samples: 4}'],
    ['dark', 'light'],
    6,
  ],
])('a run on %s keeps the classes, and resumed it equals the uninterrupted one', async (_, data, overrides, classNames, count) => {
  const config = (steps: number) => tinyConfig(data, ...overrides, `steps=${steps}`, 'batchSize=2');
  const source = await openData(config(1));
  expect(source).toMatchObject({ classNames, count });
  await source.close();
  const [whole, parts] = [newRun(), newRun()];
  await runTiny(config(5), whole);
  await runTiny(config(3), parts);
  await runTiny(config(5), parts, { resume: true });
  for (const file of ['weights', 'ema', 'optimizer'])
    expect(checkpointBytes(parts, 5, file).equals(checkpointBytes(whole, 5, file)), file).toBe(true);
  expect(curveOf(parts)).toEqual(curveOf(whole));
  expect(metricsLines(whole).every(({ loss }) => Number.isFinite(loss) && loss > 0)).toBe(true);
  expect(JSON.parse(fs.readFileSync(path.join(whole, 'model.json'), 'utf8')).classNames).toEqual(classNames);
  expect(fs.readdirSync(path.join(whole, 'samples'))).toEqual(['step-00000005.png']);
});

test('every use of a latent draws from its posterior anew, scaled; mirrored ones are those of the cache', async () => {
  const source = await openData(tinyConfig(latents, 'data.kind=latents', 'data.flip=true'));
  expect(source).toMatchObject({ channels: 8, height: 8, width: 8 });
  const length = 8 * 8 * 8;
  const draws = 200;
  const out = new Float32Array(draws * length);
  await source.read(
    Array.from({ length: draws }, (_, index) => ({ record: 0, flip: false, index })),
    out,
  );
  const [scales, shifts] = [source.latents!.scalingFactor, source.latents!.shiftFactor].map((value) => ofChannels(value, 8));
  // Mean and deviation of the draws are those of the posterior.
  const cache = await LatentCache.open(latents);
  const moments = await cache.read([0], [false]);
  await cache.close();
  let worst = 0;
  for (let i = 0; i < length; i++) {
    const deviation = Math.exp(0.5 * moments[length + i]);
    const mean =
      Array.from({ length: draws }, (_, d) => out[d * length + i] / scales[i >> 6] + shifts[i >> 6]).reduce((a, b) => a + b) / draws;
    worst = Math.max(worst, Math.abs(mean - moments[i]) / deviation);
  }
  // Five standard errors; the largest of 512 means is near 3.2 of them.
  expect(worst).toBeLessThan(5 / Math.sqrt(draws));
  const [again, other] = [new Float32Array(2 * length), new Float32Array(length)];
  await source.read(
    [
      { record: 0, flip: false, index: 0 },
      { record: 0, flip: true, index: 0 },
    ],
    again,
  );
  expect(again.subarray(0, length)).toEqual(out.subarray(0, length));
  await source.read([{ record: 0, flip: true, index: 0 }], other);
  expect(again.subarray(length)).toEqual(other);
  expect(other).not.toEqual(out.subarray(0, length));
  await source.close();
});

test.each([true, false])('latents can be held out: a share %s', async (share) => {
  const held = share ? 'validation.share=0.34' : `validation.path=${latents}`;
  const config = (seed: number) =>
    tinyConfig(latents, 'data.kind=latents', `seed=${seed}`, 'validation={every: 2, samples: 5, seed: 3}', held);
  const source = await openData(config(0));
  expect(source.count).toBe(share ? 4 : 6);
  const reads = [];
  for (const seed of [0, 1]) {
    const heldOut = await openHeldOut(config(seed), source);
    expect(heldOut.count).toBe(share ? 2 : 6);
    const out = new Float32Array(512);
    await heldOut.read([{ record: 1, flip: false, index: 4 }], out);
    reads.push(out);
    await heldOut.close();
  }
  await source.close();
  // Draws of the posterior, too, are the validation's own, not the run's.
  expect(reads[1]).toEqual(reads[0]);
});

test('labels without names become numbers, none become one class, and a label beyond the names is refused', () => {
  expect(classesOf('a', [], [2, -1, 0]).names).toEqual(['0', '1', '2']);
  expect(classesOf('a', [], [2, -1, 0]).labelOf(-1)).toBe(3);
  expect(classesOf('a', [], [-1, -1])).toMatchObject({ names: ['all'] });
  expect(classesOf('a', [], [-1, -1]).labelOf(-1)).toBe(0);
  expect(() => classesOf('a', ['cat'], [0, 1])).toThrow(/label 1, but names of 1 classes/);
});
