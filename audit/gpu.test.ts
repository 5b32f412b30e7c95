/**
 * Steps of the project, looked up in TensorFlow's table of kernels for GPUs: each op has one, nothing of a layer is computed in host
 * memory, and the host waits for the sizes of the experts' slices alone.
 */
import { dit, preset, samplesCompete, weightSpecs } from '@dit-moe/dit';
import { disposeInception, inception, loadInception, resizeForInception } from '@dit-moe/metrics';
import { linearScorer, route, tokenChoice } from '@dit-moe/moe';
import { capacity, dense, padded, routedExperts, slices } from '@dit-moe/moe/dispatch';
import { ParameterSet, tensorFlowBackend, valueAndGrads } from '@dit-moe/tensor-ops';
import { declared, type TensorFlowRuntime, useTensorFlow } from '@dit-moe/tensor-ops/node';
import { autoencoderConfig, decodeLatents, encodeMoments, initialAutoencoderWeights } from '@dit-moe/vae';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { modelConfig, resolveConfig } from '../apps/trainer/src/config/resolve.js';
import { plannedData } from '../apps/trainer/src/planning/data-shape.js';
import { randomFilters } from '../apps/trainer/src/selftest/sections/pictures.js';
import { smallModel } from '../apps/trainer/src/selftest/small-model.js';
import { TrainingState } from '../apps/trainer/src/training/state.js';
import { auditGpu } from '../packages/tensor-ops/test/gpu-kernels/audit.js';
import { gpuKernels } from '../packages/tensor-ops/test/gpu-kernels/gpu-kernels.js';
import { routers } from '../testing/routers.js';

let runtime: TensorFlowRuntime;
beforeAll(async () => {
  runtime = await useTensorFlow();
  // GPUs multiply in bfloat16 whatever this machine does.
  tensorFlowBackend()!.bf16Products = true;
});
afterAll(() => runtime.shutdown());

const clean = { missing: [], onHost: {}, waits: {} };

test('the table is of the TensorFlow that is used', () => {
  expect(gpuKernels.version).toBe(runtime.version);
  expect(gpuKernels.kernels['Add']).toContainEqual({ types: { T: [3] }, host: ['x', 'y', 'z'] });
});

test('an op without a kernel, integers in host memory and values that the host waits for are found', () => {
  const step = (x: tf.Tensor) => {
    const order = tf.topk(x, 512).indices;
    return [tf.add(order, tf.scalar(1, 'int32')), tensorFlowBackend()!.raw('AsString', [x])[0]];
  };
  const { missing, onHost, waits } = auditGpu(step, [tf.zeros([512])]);
  expect(missing).toEqual([expect.stringMatching(/^AsString/)]);
  expect(Object.keys(onHost)).toEqual([expect.stringMatching(/^Add T=3: \[512\]/)]);
  expect(waits).toEqual({ 'Add x: [512]': 1 });
});

const BATCH = 4;
test.each([
  ['float32', ['precision=f32', 'recompute=false']],
  ['bfloat16', ['precision=bf16', 'recompute=false']],
  ['bfloat16, recomputed', ['precision=bf16', 'recompute=true']],
  ['flow, accumulated', ['objective={kind: flow}', 'precision=f32', 'recompute=false', 'batchSize=8', 'accumulation=2']],
])('training: %s', async (_, overrides) => {
  const settings = [`batchSize=${BATCH}`, 'accumulation=1', ...overrides];
  const config = resolveConfig({ preset: 'repo-s-2-8e2a-256', overrides: settings });
  const model = modelConfig(config, await plannedData(config));
  const waitsOf = (depth: number): number => {
    const state = declared(() => new TrainingState({ ...model, depth }, config));
    const images = () => tf.zeros([BATCH, 4, 32, 32]);
    const drawn = state.objective.draw({ seed: 0, purpose: 'audit', indices: [0, 1, 2, 3] });
    const batch = [images(), images(), drawn, tf.tensor1d([1, 2, 3, 4], 'int32')];
    const { waits, ...rest } = auditGpu((...xs: tf.Tensor[]) => state.gradientStep(...xs), batch);
    expect(rest).toEqual({ missing: [], onHost: {} });
    expect(Object.keys(waits)).toEqual(['SplitV size_splits: [8]']);
    const given = config.accumulation > 1 ? [] : Object.values(state.parameters).map(({ shape }) => tf.zeros([...shape]));
    expect(auditGpu((...xs: tf.Tensor[]) => state.updateStep(...xs), [tf.scalar(1), tf.scalar(1), ...given])).toEqual(clean);
    tf.dispose([...batch, ...given]);
    state.dispose();
    return waits['SplitV size_splits: [8]'];
  };
  const [one, two] = [waitsOf(1), waitsOf(2)];
  // Computed again where blocks are recomputed.
  expect(one).toBeLessThanOrEqual(config.recompute ? 2 : 1);
  expect(two - one).toBeLessThanOrEqual(config.recompute ? 2 : 1);
});

test.each([
  ['slices', slices, { 'SplitV size_splits: [8]': 1 }],
  ['dense', dense, {}],
  ['capacity', capacity(), {}],
  ['capacity by position', capacity({ dropBy: 'position' }), {}],
  // The size of the largest load, and what follows from it.
  ['padded', padded, { 'Range limit: []': 1 }],
] as const)('dispatch by %s', (_, dispatcher, waits) => {
  const [tokens, width, numExperts, hidden] = [512, 16, 8, 32];
  const step = (x: tf.Tensor, gate: tf.Tensor, gateUp: tf.Tensor, down: tf.Tensor) => {
    const { value, grads } = valueAndGrads(
      () => {
        const plan = route(x, linearScorer(gate), { selector: tokenChoice(2) });
        return { loss: tf.sum(tf.square(routedExperts(x, plan, { gateUp, down }, { dispatcher }).output)) as tf.Scalar };
      },
      { x, gate, gateUp, down },
    );
    return [value, ...Object.values(grads)];
  };
  const inputs = [
    [tokens, width],
    [width, numExperts],
    [numExperts, 2, width, hidden],
    [numExperts, hidden, width],
  ];
  expect(auditGpu(step, inputs.map((shape) => tf.zeros(shape)) as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor])).toEqual({
    ...clean,
    waits,
  });
});

describe.each(Object.keys(routers))('the router of %s', (name) => {
  const config = smallModel({ ...routers[name], ...(routers[name].router === 'timestep' && { timeRange: 1000 }) });
  // Tokens enough that arrays of them are larger than sizes and shapes.
  const model = { ...config, inputSize: [16, 16] as const };
  // Feed-forward experts of one shape are multiplied slice by slice.
  const stacks = Object.keys(weightSpecs(model)).filter((weight) => /moe\.experts\..*down$/.test(weight)).length;
  const { router = 'token' } = model.moe!;
  const anyNumber = router === 'expert-choice' || samplesCompete(model.moe!);

  test.each([
    ['slices', slices, 'f32'],
    ['slices', slices, 'bf16'],
    ['dense', dense, 'f32'],
  ] as const)('waits for sizes alone, dispatched by %s, in training and sampling', (_, dispatcher, precision) => {
    const inputs = [tf.zeros([8, 4, 16, 16]), tf.zeros([8]), tf.tensor1d(new Array<number>(8).fill(1), 'int32')] as const;
    const weights = declared(() => ParameterSet.create(weightSpecs(model), 0));
    const options = { precision, moe: () => ({ dispatcher }) };
    const steps = {
      training(x: tf.Tensor, t: tf.Tensor, y: tf.Tensor) {
        const read = weights.read();
        const { value, grads } = valueAndGrads(
          () => {
            const { output, losses } = dit(read, model, x, t, y, { ...options, training: {} });
            return { loss: tf.addN([tf.sum(tf.square(output)), ...Object.values(losses)]) };
          },
          read,
          { allowZeros: true },
        );
        return [value, ...Object.values(grads)];
      },
      sampling: (x: tf.Tensor, t: tf.Tensor, y: tf.Tensor) => dit(weights.read(), model, x, t, y, options).output,
    };
    for (const [when, step] of Object.entries(steps)) {
      const { waits, ...rest } = auditGpu(step, [...inputs]);
      expect(rest).toEqual({ missing: [], onHost: {} });
      const count = (of: RegExp) => Object.entries(waits).reduce((sum, [line, n]) => sum + (of.test(line) ? n : 0), 0);
      // The sizes of the slices; where a token may have any number of experts also the largest such number, once in each direction.
      const [ofSlices, largest] = [count(/^(SplitV size_splits|Sum input): \[\d\]$/), count(/^Reshape tensor: \[\]$/)];
      expect({ ofSlices, largest, all: count(/./) }).toEqual({
        ofSlices: dispatcher === slices ? stacks : 0,
        largest: anyNumber ? model.depth * (when === 'training' ? 2 : 1) : 0,
        all: ofSlices + largest,
      });
    }
    weights.dispose();
  });
});

test('the Inception network', async () => {
  const weights = await loadInception(randomFilters());
  const step = (x: tf.Tensor) => ({ ...inception(weights, resizeForInception(x as tf.Tensor4D)) });
  expect(auditGpu(step, [tf.zeros([1, 64, 64, 3])])).toEqual(clean);
  disposeInception(weights);
});

test('sampling: the model', () => {
  const config = { ...preset('S/2-8E2A'), depth: 2 };
  for (const precision of ['f32', 'bf16'] as const) {
    const set = declared(() => ParameterSet.create(weightSpecs(config), 0, { precision }));
    const step = (x: tf.Tensor, t: tf.Tensor, y: tf.Tensor) => dit(set.read(), config, x, t, y, { precision }).output;
    const labels = tf.tensor1d(new Array<number>(8).fill(1), 'int32');
    const { waits, ...rest } = auditGpu(step, [tf.zeros([8, 4, 32, 32]), tf.zeros([8]), labels]);
    expect(rest).toEqual({ missing: [], onHost: {} });
    expect(waits).toEqual({ 'SplitV size_splits: [8]': 2 });
    set.dispose();
  }
});

test('the autoencoder, both ways', () => {
  const config = autoencoderConfig({ blockOutChannels: [32, 64], latentChannels: 4 });
  const weights = initialAutoencoderWeights(config, 0);
  expect(auditGpu((x: tf.Tensor) => encodeMoments(weights, config, x), [tf.zeros([2, 3, 32, 32])])).toEqual(clean);
  expect(auditGpu((z: tf.Tensor) => decodeLatents(weights, config, z), [tf.zeros([2, 4, 16, 16])])).toEqual(clean);
});
