import { compile, valueAndGrads } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { type DitConfig, dit, dropLabels, hasExperts, positionEmbedding, timestepEmbedding, weightSpecs } from './index.js';
import { rotate, rotation } from './rotary.js';
import { randomWeights, someInputs, tiny, tinyDense } from './testing/models.js';

const variants: [string, DitConfig][] = [
  ['RMSNorm', { ...tiny, norm: 'rms' }],
  ['q/k norm', { ...tiny, qkNorm: true }],
  ['q/k RMSNorm', { ...tiny, qkNorm: true, norm: 'rms' }],
  ['rotary', { ...tiny, rotary: true }],
  ['dense SwiGLU', { ...tinyDense, mlp: 'swiglu', mlpRatio: 8 / 3 }],
  ['dense SwiGLU with biases', { ...tinyDense, mlp: 'swiglu-bias', mlpRatio: 8 / 3 }],
  ['embedders in every block', { ...tiny, blockEmbedders: true }],
  ['a bottleneck before the patch embedding', { ...tiny, patchBottleneck: 3 }],
  ['class tokens in context', { ...tinyDense, rotary: true, classTokens: { count: 3, from: 1 } }],
  ['unconditional', { ...tiny, numClasses: 0 }],
  ['experts in the deep half', { ...tiny, moe: { ...tiny.moe!, layers: 'deepHalf' } }],
  ['GELU experts', { ...tiny, moe: { ...tiny.moe!, experts: 'gelu' } }],
  ['interpolated positions', { ...tiny, positionGrid: [8, 8] }],
  ['renormalised weights', { ...tiny, moe: { ...tiny.moe!, normalizeTopK: true, scoreFunction: 'sigmoid' } }],
  [
    'all',
    {
      ...tiny,
      qkNorm: true,
      norm: 'rms',
      rotary: true,
      mlp: 'swiglu',
      moe: { ...tiny.moe!, layers: [1] },
      timestepFrequencies: 'diffusers',
    },
  ],
];

describe('options of the model', () => {
  beforeAll(async () => void (await useTensorFlow()));

  test.each(variants)('%s: runtime and cpu agree, compiled and eager agree, and it changes the output', (_name, config) => {
    void tf.setBackend('cpu');
    const [x, t, y] = someInputs(config);
    const expected = dit(randomWeights(config), config, x, t, y).output;
    void tf.setBackend('tensorflow');
    const copies = [tf.tensor(x.dataSync(), x.shape), tf.tensor(t.dataSync()), tf.tensor(y.dataSync(), y.shape, 'int32')] as const;
    const weights = randomWeights(config);
    const step = compile((a: tf.Tensor, b: tf.Tensor, c: tf.Tensor) => dit(weights, config, a, b, c).output);
    const compiled = step.runSync(...copies);
    const numbers = expected.dataSync();
    compiled.dataSync().forEach((v, i) => void expect(Math.abs(v - numbers[i])).toBeLessThan(1e-4));
    step.dispose();
    const plain = dit(randomWeights(tiny), tiny, ...copies).output.dataSync();
    expect(numbers.some((v, i) => Math.abs(v - plain[i]) > 1e-3)).toBe(true);
  });

  test.each(variants)(
    '%s: gradients agree with finite differences along random directions, recomputed ones with kept ones',
    (_name, { moe, ...dense }) => {
      void tf.setBackend('tensorflow');
      // Every token goes to all experts: which ones are chosen is not differentiable.
      const config = { ...dense, ...(moe && { moe: { ...moe, topK: moe.numExperts } }) };
      const weights = randomWeights(config);
      const inputs = someInputs(config);
      const loss = (w: Record<string, tf.Tensor>, recompute: boolean) => {
        const { output, losses } = dit(w, config, ...inputs, { recompute });
        const terms = Object.values(losses).reduce<tf.Tensor>((sum, term) => tf.add(sum, term), tf.scalar(0));
        return tf.add(tf.mean(tf.square(output)), tf.mul(terms, 0.1));
      };
      const [kept, again] = [false, true].map((recompute) => valueAndGrads(() => ({ loss: loss(weights, recompute) }), weights));
      expect(again.value.dataSync()[0]).toBe(kept.value.dataSync()[0]);
      for (const [name, gradient] of Object.entries(kept.grads)) {
        const [a, b] = [gradient.dataSync(), again.grads[name].dataSync()];
        a.forEach((v, i) => void expect(Math.abs(v - b[i]), name).toBeLessThan(1e-6 + 1e-5 * Math.abs(v)));
      }
      for (const part of ['Embedding', 'attention', 'Norm', 'finalLayer', 'mlp', 'moe']) {
        const names = Object.keys(weights).filter((name) => name.includes(part));
        if (names.length === 0) continue;
        const directions = Object.fromEntries(names.map((name, i) => [name, tf.randomNormal(weights[name].shape, 0, 1, 'float32', i)]));
        const at = (h: number) =>
          loss(
            Object.fromEntries(Object.entries(weights).map(([n, w]) => [n, directions[n] ? tf.add(w, tf.mul(directions[n], h)) : w])),
            false,
          ).dataSync()[0];
        const slope = names.reduce((sum, n) => sum + tf.sum(tf.mul(kept.grads[n], directions[n])).dataSync()[0], 0);
        const h = 1e-3;
        const measured = (at(h) - at(-h)) / (2 * h);
        expect(Math.abs(measured - slope), part).toBeLessThan(2e-3 + 0.03 * Math.abs(slope));
      }
    },
  );

  test('recomputed blocks keep one input each: memory of training grows by less than a third per block', async () => {
    await tf.setBackend('cpu');
    const config: DitConfig = { ...tiny, inputSize: [16, 16], hiddenSize: 32 };
    const peak = async (depth: number, recompute: boolean) => {
      const deep = { ...config, depth };
      const weights = randomWeights(deep);
      const inputs = someInputs(deep);
      const { peakBytes } = await tf.profile(() => {
        const { value, grads } = valueAndGrads(
          () => ({ loss: tf.mean(tf.square(dit(weights, deep, ...inputs, { recompute }).output)) }),
          weights,
          {
            allowZeros: true,
          },
        );
        tf.dispose([value, ...Object.values(grads)]);
        return tf.scalar(0);
      });
      const weightBytes = Object.values(weights).reduce((sum, w) => sum + 4 * w.size, 0);
      return peakBytes - 2 * weightBytes;
    };
    const growth = async (recompute: boolean) => ((await peak(6, recompute)) - (await peak(2, recompute))) / 4;
    const [kept, recomputed] = [await growth(false), await growth(true)];
    // What one block passes to the next: [3, 64, 32] float32, and its packed copy.
    const input = 4 * 3 * 64 * 32;
    expect(recomputed).toBeLessThan(4 * input);
    expect(kept).toBeGreaterThan(10 * input);
  });

  test('experts lie where the configuration says', () => {
    const layers = (config: NonNullable<DitConfig['moe']>['layers'], depth = 6) => {
      const model = { ...tiny, depth, moe: { ...tiny.moe!, ...(config !== undefined && { layers: config }) } };
      return [0, 1, 2, 3, 4, 5].filter((layer) => hasExperts(model, layer));
    };
    expect(layers(undefined)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(layers('deepHalf')).toEqual([3, 4, 5]);
    expect(layers('shallowHalf')).toEqual([0, 1, 2]);
    expect(layers({ every: 2 })).toEqual([1, 3, 5]);
    expect(layers([0, 4])).toEqual([0, 4]);
    const mixed = weightSpecs({ ...tiny, moe: { ...tiny.moe!, layers: [1] } });
    expect(Object.keys(mixed).filter((name) => /blocks\.\d\.(mlp|moe)/.test(name))).toEqual([
      'blocks.0.mlp.0.weight',
      'blocks.0.mlp.0.bias',
      'blocks.0.mlp.1.weight',
      'blocks.0.mlp.1.bias',
      'blocks.1.moe.gate',
      'blocks.1.moe.experts.gateUp',
      'blocks.1.moe.experts.down',
      'blocks.1.moe.shared.gateUp',
      'blocks.1.moe.shared.down',
    ]);
    for (const wrong of [[6], [], { every: 0 }, 'half'])
      expect(() => weightSpecs({ ...tiny, moe: { ...tiny.moe!, layers: wrong as number[] } })).toThrow(/moe\.layers/);
  });

  test('rotary positions keep lengths, and products depend on the distance only', () => {
    void tf.setBackend('tensorflow');
    const [q, k] = [1, 2].map((seed) => tf.tile(tf.randomNormal([1, 1, 1, 8], 0, 1, 'float32', seed), [1, 1, 20, 1]));
    const turn = rotation(8, [4, 5]);
    const [a, b] = [rotate(q, turn), rotate(k, turn)];
    expect(tf.norm(a).dataSync()[0]).toBeCloseTo(tf.norm(q).dataSync()[0], 4);
    const products = tf.matMul(tf.squeeze(a), tf.squeeze(b), false, true).arraySync() as number[][];
    // Token 5 r + c: (0, 0) to (1, 2) is the same step as (2, 1) to (3, 3), and another one than (0, 0) to (2, 1).
    expect(products[0][7]).toBeCloseTo(products[11][18], 4);
    expect(Math.abs(products[0][7] - products[0][11])).toBeGreaterThan(1e-3);
  });

  test('interpolated positions meet the trained ones where the grids meet', () => {
    const [trained, finer] = [positionEmbedding(8, [2, 3]), positionEmbedding(8, [4, 6], [2, 3])];
    const at = (table: Float64Array, row: number, column: number, columns: number) =>
      Array.from(table.subarray((row * columns + column) * 8, (row * columns + column + 1) * 8));
    for (const [row, column] of [
      [0, 0],
      [1, 2],
    ] as const)
      expect(at(finer, 2 * row, 2 * column, 6)).toEqual(at(trained, row, column, 3));
    expect(at(finer, 0, 1, 6)[0]).toBeCloseTo(Math.sin(0.5), 12);
  });

  test('frequencies of diffusers end at 1/10000', () => {
    const last = (kind: 'dit' | 'diffusers') => (timestepEmbedding(tf.tensor1d([1000]), 8, kind).arraySync() as number[][])[0].slice(4);
    expect(last('diffusers')[3]).toBeCloseTo(Math.sin(0.1), 6);
    expect(last('dit')[3]).toBeCloseTo(Math.sin(1), 6);
  });

  test('labels are dropped to the null label, at the rate asked for', () => {
    const labels = new Int32Array(1000).fill(1);
    const uniform = Array.from(labels, (_, i) => i / 1000);
    const dropped = Array.from(dropLabels(tiny, labels, uniform, 0.1));
    expect(dropped.filter((label) => label === 3).length).toBe(100);
    expect(dropped.filter((label) => label === 1).length).toBe(900);
    expect(dropLabels({ ...tiny, nullLabel: 0 }, labels, uniform, 1)[5]).toBe(0);
    expect(() => dropLabels({ ...tiny, nullLabel: false }, labels, uniform, 0.1)).toThrow(/nullLabel/);
  });

  test('a block with embedders of its own goes by them, the final layer by the first block', async () => {
    const config: DitConfig = { ...tinyDense, blockEmbedders: true };
    const weights = randomWeights(config);
    const [x, t, y] = someInputs(config);
    // The second block's condition is made constant, so that its modulation is one vector, which a bias can be.
    const constant = tf.randomNormal([16], 0, 1, 'float32', 3);
    const zero = (name: string) => ({ [name]: tf.zerosLike(weights[name]) });
    const own = {
      ...weights,
      ...zero('blocks.1.timestepEmbedding.1.weight'),
      ...zero('blocks.1.labelEmbedding.table'),
      'blocks.1.timestepEmbedding.1.bias': constant,
    };
    const { output } = dit(own, config, x, t, y);
    const modulated = tf.matMul(tf.reshape(tf.mul(constant, tf.sigmoid(constant)), [1, 16]), weights['blocks.1.modulation.weight']);
    const shared = {
      ...weights,
      ...zero('blocks.1.modulation.weight'),
      'blocks.1.modulation.bias': tf.add(weights['blocks.1.modulation.bias'], tf.reshape(modulated, [-1])),
    };
    const expected = dit(shared, tinyDense, x, t, y).output.dataSync();
    expect(output.dataSync()).toBeCloseTensor(expected, 1e-5, 0);
  });

  test('an unconditional model needs no labels, another one does', () => {
    const config = { ...tiny, numClasses: 0 };
    const [x, t] = someInputs(config);
    expect(dit(randomWeights(config), config, x, t, undefined).output.shape).toEqual([3, 1, 8, 4]);
    expect(() => dit(randomWeights(tiny), tiny, x, t, undefined)).toThrow(/3 classes/);
  });
});
