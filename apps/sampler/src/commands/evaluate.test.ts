import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { bundleProgram } from '@dit-moe/kit/testing';
import { classifierSpecs } from '@dit-moe/metrics';
import { saveClassifier } from '@dit-moe/metrics/node';
import { ParameterSet } from '@dit-moe/tensor-ops';
import { encodeNpz } from '@dit-moe/tensor-ops/io';
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { encode } from 'fast-png';
import sharp from 'sharp';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Manifest } from '../generate/manifest.js';
import { compareCommand } from './compare.js';
import { type EvaluateFlags, type EvaluationRecord, evaluateCommand } from './evaluate.js';

let folder: string;
const at = (name: string): string => path.join(folder, name);

/** Grey pictures; `brightness` tells the sets apart. */
function picture(brightness: number, seed: number, side: number): Uint8Array {
  let state = 1 + brightness + 1000 * seed;
  const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  return Uint8Array.from({ length: side * side }, () => brightness + 90 * next());
}

/** Pictures in two class folders. */
async function writeImages(name: string, count: number, brightness: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const file = at(`${name}/${i % 2 === 0 ? 'cat' : 'dog'}/${i}.png`);
    await fs.mkdir(path.dirname(file), { recursive: true });
    await fs.writeFile(file, encode({ data: picture(brightness, i, 8), width: 8, height: 8, channels: 1, depth: 8 }));
  }
}

/** A generated set as `merge` leaves it: archive and manifest. */
async function writeSet(name: string, count: number, side: number, manifest?: Partial<Manifest>): Promise<void> {
  await fs.mkdir(at(name), { recursive: true });
  const data = Buffer.concat(Array.from({ length: count }, (_, i) => picture(60, i, side)));
  const labels = BigInt64Array.from({ length: count }, (_, i) => BigInt((i * 7) % 3));
  const arrays = new Map([
    ['arr_0', { dtype: 'U8' as const, shape: [count, side, side, 1], data }],
    ['arr_1', { dtype: 'I64' as const, shape: [count], data: labels }],
  ]);
  await fs.writeFile(at(`${name}/samples.npz`), await encodeNpz(arrays));
  if (manifest === undefined) return;
  const whole: Manifest = {
    ...{ format: 1, images: count, shardSize: count, batch: 1, height: side, width: side, channels: 1, numClasses: 3 },
    ...{ labels: { policy: 'balanced' }, seed: 0, settings: {}, precision: 'f32', backend: 'cpu' },
    ...{ model: { sha256: '0'.repeat(64), step: 1 }, ...manifest },
  };
  await fs.writeFile(at(`${name}/manifest.json`), JSON.stringify(whole));
}

beforeAll(async () => {
  folder = await fs.mkdtemp(path.join(os.tmpdir(), 'evaluate-'));
  await writeImages('real', 80, 40);
  await writeImages('near', 70, 41);
  await writeImages('far', 70, 120);
});
afterAll(async () => fs.rm(folder, { recursive: true, force: true }));
afterEach(() => vi.restoreAllMocks());

/** On tfjs' own backend, which every machine has. */
const defaults: EvaluateFlags = {
  ...{ network: 'pixels', resize: 'tf1', batch: 32, seed: 0, layout: 'pytorch-fid', applyOrientation: false, backend: 'cpu', json: false },
};
/** What the command prints. */
async function evaluate(samples: string, reference?: string, flags: Partial<EvaluateFlags> = {}): Promise<string> {
  const out = vi.spyOn(console, 'log').mockImplementation(() => {});
  vi.spyOn(console, 'error').mockImplementation(() => {});
  vi.spyOn(process.stderr, 'write').mockImplementation(() => true);
  const from = out.mock.calls.length;
  expect(await evaluateCommand(at(samples), reference === undefined ? undefined : at(reference), { ...defaults, ...flags })).toBe(0);
  return out.mock.calls.slice(from).flat().join('\n');
}
const record = async (samples: string, reference?: string, flags: Partial<EvaluateFlags> = {}): Promise<EvaluationRecord> =>
  JSON.parse(await evaluate(samples, reference, { ...flags, json: true }));

describe('evaluate', () => {
  test('on the command line: values as JSON, progress beside it, exit codes', async () => {
    const run = await bundleProgram(new URL('../cli.ts', import.meta.url));
    const options = ['--backend', 'cpu', '--network', 'pixels'];
    const [done, usage, missing] = await Promise.all(
      [
        ['evaluate', at('near'), at('real'), ...options, '--json'],
        ['evaluate', at('near'), at('real'), ...options, '--metrics', 'fid'],
        ['evaluate', at('absent'), ...options],
      ].map((args) => run(args).ended),
    );
    expect(done).toMatchObject({ code: 0, err: expect.stringContaining('computing fd') });
    expect(JSON.parse(done.out).metrics.fd.distance).toBeGreaterThan(0);
    expect(usage).toMatchObject({ code: 2, out: '', err: expect.stringMatching(/there is no "fid"; expected all, or some of fd/) });
    expect(missing).toMatchObject({ code: 3, out: '', err: expect.stringMatching(/no file or folder/) });
  });

  test('ranks sets, keeps a record, warns, and compares records', async () => {
    const distances: number[] = [];
    for (const set of ['near', 'far']) {
      const found = await record(set, 'real', { metrics: 'fd,is,pr,dc,kd', out: at(`${set}.json`) });
      expect(found).toEqual(JSON.parse(await fs.readFile(at(`${set}.json`), 'utf8')));
      expect(found.samples).toMatchObject({ count: 70, kind: 'folder', order: 'by name', sortedByClass: true, lossy: [] });
      expect(found.network).toEqual({ name: 'pixels', description: 'pixels averaged to 8 x 8' });
      expect(found.computation.tf32).toMatch(/no GPU/);
      expect(found.skipped).toEqual({ is: 'the network has no logits.' });
      distances.push(found.metrics.fd!.distance);
    }
    expect(distances[1]).toBeGreaterThan(10 * distances[0]);
    expect(await evaluate('near', 'real', { limit: 50, out: at('limited.json') })).toMatch(/FD \(pixels\) +\d/);
    const out = vi.spyOn(console, 'log').mockImplementation(() => {});
    await compareCommand([at('near.json'), at('limited.json')], { json: false });
    expect(out.mock.calls.flat().join('\n')).toMatch(/warning: the number of samples differs \(70; 50\)/);
  });

  test('warns of few samples, another number and size of images, and lossy files', async () => {
    await writeSet('small', 30, 6);
    await writeSet('wide', 40, 10);
    await fs.mkdir(at('lossy'));
    for (let i = 0; i < 3; i++) {
      const raw = { width: 8, height: 8, channels: 1 } as const;
      await sharp(picture(50, i, 8), { raw })
        .jpeg()
        .toFile(at(`lossy/${i}.jpg`));
    }
    const warnings = async (samples: string, reference: string) => (await record(samples, reference, { metrics: 'fd' })).warnings;
    expect(await warnings('small', 'wide')).toEqual([
      expect.stringMatching(/^30 samples for 192 dimensions: the covariance is singular/),
      expect.stringMatching(/^40 reference images for 192 dimensions/),
      expect.stringMatching(/compare this one only with others of 30 samples/),
      expect.stringMatching(/^The reference is of 40 images, there are 30 samples/),
      expect.stringMatching(/^Samples are 6 x 6, reference images 10 x 10 pixels/),
    ]);
    expect(await warnings('small', 'small')).not.toContainEqual(expect.stringMatching(/^Samples are|^The reference is of/));
    expect(await warnings('lossy', 'real')).toContainEqual(expect.stringMatching(/^The samples are lossy files \(.jpg\)/));
    expect(await warnings('near', 'lossy')).toContainEqual(expect.stringMatching(/^The reference images are lossy files \(.jpg\)/));
  });

  test('the record says what the numbers depend on, of a generated set also labels and rounding', async () => {
    await writeSet('generated', 12, 8, {});
    const { samples, reference, network, computation, seed } = await record('generated', 'real', { metrics: 'fd', seed: 5 });
    expect(samples).toEqual({
      ...{ path: at('generated/samples.npz'), kind: 'npz', count: 12, size: [8, 8], order: 'as in the file', sortedByClass: false },
      ...{ labelPolicy: 'balanced', rounding: 'round(127.5 (x + 1)), clipped to 0..255', lossy: [], statistics: false },
    });
    expect(reference).toMatchObject({
      count: 80,
      labelPolicy: 'unknown (no manifest.json of "generate" beside it)',
      rounding: expect.stringMatching(/^unknown/),
    });
    expect(network.description).toBe('pixels averaged to 8 x 8');
    expect(computation).toEqual({
      backend: expect.stringMatching(/^cpu /),
      devices: [expect.any(String)],
      tf32: 'not used (no GPU)',
      covariance: 'float64',
    });
    expect(seed).toBe(5);
    // A manifest of other images is not that of these.
    await writeSet('other', 12, 8, { images: 13 });
    expect((await record('other', 'real', { metrics: 'fd' })).samples.labelPolicy).toMatch(/^unknown/);
  });

  test('statistics of one run are the reference of the next', async () => {
    const written = await record('real', undefined, { saveStatistics: at('real.npz') });
    expect(written).toMatchObject({ metrics: {}, skipped: { fd: 'there is no reference.', kd: 'there is no reference.' }, warnings: [] });
    const images = await record('far', 'real', { metrics: 'fd' });
    const statistics = await record('far', 'real.npz');
    expect(statistics.metrics.fd!.distance).toBeCloseTo(images.metrics.fd!.distance, 4);
    expect(statistics.reference).toMatchObject({ count: 80, statistics: true });
    expect(statistics.skipped.kd).toMatch(/no images, only statistics/);
    await expect(evaluate('real.npz')).rejects.toMatchObject({
      code: 'E_USAGE',
      message: expect.stringMatching(/statistics but no images/),
    });
  });

  test('files of another kind and images that cannot be decoded are named', async () => {
    await fs.writeFile(at('text.json'), '{}');
    await expect(evaluate('text.json')).rejects.toMatchObject({
      code: 'E_IMAGE_SOURCE',
      message: expect.stringMatching(/text.json: expected a folder of images, or a .tar/),
    });
    await writeImages('broken', 4, 10);
    await fs.writeFile(at('broken/cat/0.png'), 'not an image');
    const message = expect.stringMatching(/cat\/0.png: it is not an image but text/);
    await expect(evaluate('broken', 'real')).rejects.toMatchObject({ code: 'E_IMAGE', message });
  });

  test('weights that are not on the machine are asked for, before any work', async () => {
    await expect(evaluate('near', 'real', { network: 'inception', networkWeights: at('absent.pth') })).rejects.toMatchObject({
      code: 'E_METRIC',
      message: expect.stringMatching(/no file .*absent.pth. Get it from https:.*pt_inception-2015-12-05-6726825d.pth/),
    });
    vi.stubEnv('DIT_MOE_CACHE_DIR', folder);
    await expect(evaluate('near', undefined, { network: 'clip' })).rejects.toThrow(
      /"clip" \(CMMD.*put it into .*weights as clip-vit-large-patch14-336/,
    );
    vi.unstubAllEnvs();
  });
});

test('a classifier of their classes tells how many samples are of their class, and says so of itself', async () => {
  const about = { size: 8, classNames: ['cat', 'dog'] };
  const specs = classifierSpecs(about);
  await tf.setBackend('cpu');
  const weights = ParameterSet.declare(specs);
  // All pictures are cats to it: a bias alone decides.
  await weights.load(
    Object.entries(specs).map(([name, { shape }]) => {
      const data = new Float32Array(tf.util.sizeFromShape(shape));
      if (name === 'logits.bias') data[0] = 1;
      return [name, { shape, data }] as const;
    }),
  );
  await saveClassifier(at('cats.safetensors'), weights, about);
  weights.dispose();
  const flags = { network: 'classifier', networkWeights: at('cats.safetensors'), metrics: 'accuracy' } as const;
  const { metrics, network } = JSON.parse(await evaluate('near', undefined, { ...flags, json: true })) as EvaluationRecord;
  expect(metrics).toEqual({ accuracy: 0.5 });
  expect(network).toMatchObject({ name: 'classifier', description: expect.stringMatching(/^classifier of 2 classes at 8 x 8/) });
  expect(await evaluate('near', undefined, { metrics: 'accuracy' })).toMatch(/accuracy +not computed: the network is no classifier/);
});
