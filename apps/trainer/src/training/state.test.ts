import { tensorFlowBackend } from '@dit-moe/tensor-ops';
import { differingNodes, type TensorFlowRuntime, useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { modelConfig, resolveConfig } from '../config/resolve.js';
import { tinyOverrides } from '../testing/tiny-run.js';
import { TrainingState } from './state.js';

let runtime: TensorFlowRuntime;
beforeAll(async () => {
  runtime = await useTensorFlow();
});
afterAll(() => runtime.shutdown());

test.each([
  ['flow', []],
  ['gaussian diffusion, accumulated', ['objective={kind: ddpm}', 'accumulation=2']],
  ['bf16, recomputed, clipped', ['precision=bf16', 'recompute=true', 'optimizer={clipNorm: 1}']],
  ['every block with experts, decay, two averages', ['model={depth: 2}', 'optimizer={weightDecay: 0.1}', 'ema=[0.5, 0.9]']],
])('no size that depends on data becomes a constant of either half of a step: %s', (_, overrides) => {
  const config = resolveConfig({ data: 'none', overrides: [...tinyOverrides, ...overrides] });
  const state = new TrainingState(modelConfig(config, { channels: 1, height: 8, width: 8, classNames: ['a', 'b'] }), config);
  const { bf16Products } = tensorFlowBackend()!;
  tensorFlowBackend()!.bf16Products = true;
  const images = () => tf.randomNormal([6, 1, 8, 8]);
  const drawn = state.objective.draw({ seed: 0, purpose: 'test', indices: [0, 1, 2, 3, 4, 5] });
  const batch = [images(), images(), drawn, tf.tensor1d([0, 1, 0, 1, 0, 1], 'int32')];
  expect(differingNodes((...xs: tf.Tensor[]) => state.gradientStep(...xs), batch)).toEqual([]);
  const grads = Object.values(state.parameters).map(({ shape }) => tf.zeros([...shape]));
  expect(differingNodes((...xs: tf.Tensor[]) => state.updateStep(...xs), [tf.scalar(1), tf.scalar(1), ...grads])).toEqual([]);
  tensorFlowBackend()!.bf16Products = bf16Products;
  state.dispose();
});
