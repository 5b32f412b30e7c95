/** Small models and random weights for tests. */
import { initialWeight } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type DitConfig, weightSpecs } from '../index.js';

/** Two blocks, not square, with experts. */
export const tiny: DitConfig = {
  inputSize: [8, 4],
  patchSize: 2,
  inChannels: 1,
  hiddenSize: 16,
  depth: 2,
  numHeads: 2,
  mlpRatio: 4,
  numClasses: 3,
  learnSigma: false,
  moe: { numExperts: 4, topK: 2, expertRatio: 2, sharedRatio: 1, balanceAlpha: 0.01 },
};

const { moe: _, ...dense } = tiny;
export const tinyDense = dense;

/** Normal numbers everywhere (around 1 for scales), so that no zero-initialised gate hides a mistake. */
export function randomNumbers(config: DitConfig, std = 0.2): Record<string, { shape: number[]; data: Float32Array }> {
  return Object.fromEntries(
    Object.entries(weightSpecs(config)).map(([name, { shape, initial }]) => {
      const data = initialWeight(name, { shape, initial: { kind: 'normal', std } }, 1);
      return [name, { shape, data: initial.kind === 'ones' ? data.map((v) => 1 + v) : data }];
    }),
  );
}

/** {@link randomNumbers} on the device. */
export function randomWeights(config: DitConfig, std?: number): Record<string, tf.Tensor> {
  return Object.fromEntries(Object.entries(randomNumbers(config, std)).map(([name, { shape, data }]) => [name, tf.tensor(data, shape)]));
}

/** Latents, times and labels. */
export function someInputs({ inChannels, inputSize }: DitConfig = tiny, batch = 3): [x: tf.Tensor, t: tf.Tensor, y: tf.Tensor] {
  const each = Array.from({ length: batch }, (_, i) => i);
  return [
    tf.randomNormal([batch, inChannels, ...inputSize], 0, 1, 'float32', 7),
    tf.tensor1d(each.map((i) => i / 2)),
    tf.tensor1d(
      each.map((i) => (3 * i) % 4),
      'int32',
    ),
  ];
}
