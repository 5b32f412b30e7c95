import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { type DitConfig, dit, reduceExperts, type UpcycleOptions, upcycle, type WeightStream, weightSpecs } from '../index.js';
import { randomNumbers, someInputs, tiny, tinyDense } from '../testing/models.js';

beforeAll(async () => void (await useTensorFlow()));

const stream = (config: DitConfig, numbers = randomNumbers(config)): WeightStream => ({
  config,
  async *weights() {
    for (const [name, value] of Object.entries(numbers)) yield [name, value];
  },
});
async function run(source: WeightStream): Promise<Float32Array> {
  const weights: Record<string, tf.Tensor> = {};
  for await (const [name, { shape, data }] of source.weights()) weights[name] = tf.tensor(data, [...shape]);
  const shapes = Object.entries(weightSpecs(source.config)).map(([name, { shape }]) => [name, shape]);
  expect(Object.entries(weights).map(([name, w]) => [name, w.shape])).toEqual(shapes);
  return dit(weights, source.config, ...someInputs(source.config)).output.dataSync() as Float32Array;
}

const gelu = stream(tinyDense);
const swiglu = stream({ ...tinyDense, mlp: 'swiglu', mlpRatio: 3 });

describe('upcycle', () => {
  const cases: [string, WeightStream, UpcycleOptions, number][] = [
    ['GELU (Meta), a router at zero', gelu, { numExperts: 4, topK: 2, routerStd: 0 }, 1e-6],
    ['GELU, a small router', gelu, { numExperts: 4, topK: 2 }, 2e-3],
    ['GELU, renormalised, any router', gelu, { numExperts: 4, topK: 2, routerStd: 1, normalizeTopK: true }, 1e-6],
    ['GELU in parts of half the width', gelu, { numExperts: 8, topK: 4, granularity: 2, routerStd: 1, normalizeTopK: true }, 1e-6],
    ['SwiGLU', swiglu, { numExperts: 4, topK: 1, routerStd: 0 }, 1e-6],
    ['SwiGLU in parts, a small router', swiglu, { numExperts: 6, topK: 3, granularity: 3 }, 2e-3],
    [
      'SwiGLU with a shared expert, in the deep half',
      swiglu,
      { numExperts: 4, topK: 2, routerStd: 0, sharedRatio: 2, layers: 'deepHalf' },
      1e-6,
    ],
  ];
  test.each(cases)('%s keeps the function', async (_name, source, options, tolerance) => {
    const upcycled = upcycle(source, options);
    expect(await run(upcycled)).toBeCloseTensor(await run(source), tolerance, 0);
  });

  test('noise makes experts differ, and the function', async () => {
    const upcycled = upcycle(gelu, { numExperts: 4, topK: 2, noise: 0.1 });
    for await (const [name, { data }] of upcycled.weights())
      if (name === 'blocks.0.moe.experts.up') expect(data[0]).not.toBe(data[data.length / 4]);
    expect(await run(upcycled)).not.toBeCloseTensor(await run(gelu), 1e-3, 0);
  });

  test('a small router spreads tokens over the copies', async () => {
    const upcycled = upcycle(gelu, { numExperts: 4, topK: 2 });
    const weights: Record<string, tf.Tensor> = {};
    for await (const [name, { shape, data }] of upcycled.weights()) weights[name] = tf.tensor(data, [...shape]);
    const { routing } = dit(weights, upcycled.config, ...someInputs(upcycled.config));
    expect(Array.from(routing[0].load.dataSync()).filter((tokens) => tokens > 0).length).toBeGreaterThan(2);
  });

  test('what does not fit is refused', () => {
    expect(() => upcycle(stream(tiny), { numExperts: 4, topK: 2 })).toThrow(/dense model/);
    expect(() => upcycle(gelu, { numExperts: 4, topK: 3, granularity: 2 })).toThrow(/topK/);
    expect(() => upcycle(gelu, { numExperts: 6, topK: 3, granularity: 3 })).toThrow(/mlpHidden/);
  });
});

describe('reduceExperts', () => {
  const load = [
    [10, 0, 14, 0],
    [10, 0, 14, 0],
  ];

  test('pruning experts that no token chooses changes nothing if weights are renormalised', async () => {
    const config: DitConfig = { ...tiny, moe: { ...tiny.moe!, normalizeTopK: true } };
    const source = stream(config);
    const weights = Object.fromEntries(
      Object.entries(randomNumbers(config)).map(([name, { shape, data }]) => [name, tf.tensor(data, shape)]),
    );
    const routed = dit(weights, config, ...someInputs(config)).routing;
    // Keep every expert that some token uses.
    const counts = routed.map(({ load }) => Array.from(load.dataSync()));
    const used = Math.max(...counts.map((layer) => layer.filter((n) => n > 0).length));
    const pruned = reduceExperts(source, { keep: used, load: counts });
    expect(await run(pruned)).toBeCloseTensor(await run(source), 1e-6, 0);
  });

  test('of identical experts, any may be merged or pruned', async () => {
    const source = upcycle(gelu, { numExperts: 4, topK: 2, routerStd: 1, normalizeTopK: true });
    const before = await run(source);
    for (const method of ['prune', 'merge'] as const)
      expect(await run(reduceExperts(source, { keep: 2, load, method }))).toBeCloseTensor(before, 1e-5, 0);
  });

  test('pruned weights are those of the kept experts, merged ones averages by load', async () => {
    const numbers = randomNumbers(tiny);
    // Expert 1 looks in the direction of expert 2, expert 3 in that of expert 0.
    for (const block of ['blocks.0', 'blocks.1']) {
      const { data } = numbers[`${block}.moe.gate`];
      for (let i = 0; i < 16; i++) [data[i * 4 + 1], data[i * 4 + 3]] = [2 * data[i * 4 + 2], 3 * data[i * 4]];
    }
    const counts = [
      [6, 1, 9, 2],
      [6, 1, 9, 2],
    ];
    const collect = async (method: 'prune' | 'merge') => {
      const out: Record<string, Float32Array> = {};
      for await (const [name, { data }] of reduceExperts(stream(tiny, numbers), { keep: 2, load: counts, method }).weights())
        out[name] = data;
      return out;
    };
    const [pruned, merged] = [await collect('prune'), await collect('merge')];
    const [gate, up, down] = ['gate', 'experts.gateUp', 'experts.down'].map(
      (part) => numbers[`blocks.1.moe.${part}`].data,
    ) as Float32Array[];
    const [u, w] = [up.length / 4, down.length / 4];
    expect(pruned['blocks.1.moe.gate'].slice(0, 2)).toEqual(Float32Array.of(gate[0], gate[2]));
    expect(pruned['blocks.1.moe.experts.gateUp'].slice(u, 2 * u)).toEqual(up.slice(2 * u, 3 * u));
    expect(pruned['blocks.1.moe.experts.down'][0]).toBeCloseTo((down[0] * 15) / 18, 6);
    expect(merged['blocks.1.moe.experts.gateUp'][0]).toBeCloseTo((6 * up[0] + 2 * up[3 * u]) / 8, 6);
    expect(merged['blocks.1.moe.experts.down'][w]).toBeCloseTo((9 * down[2 * w] + down[w]) / 10, 6);
  });

  test('what does not fit is refused', () => {
    expect(() => reduceExperts(gelu, { keep: 2, load })).toThrow(/dense/);
    expect(() => reduceExperts(stream(tiny), { keep: 1, load })).toThrow(/keep/);
    expect(() => reduceExperts(stream(tiny), { keep: 2, load: [[1, 2]] })).toThrow(/load/);
  });
});
