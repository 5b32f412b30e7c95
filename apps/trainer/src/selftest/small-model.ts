/** A model small enough for plain JavaScript, with weights in which every part matters. */
import { type DitConfig, type MoeConfig, weightSpecs } from '@dit-moe/dit';
import { randomNormal } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

export const BATCH = 4;

const experts: MoeConfig = { numExperts: 4, topK: 2, expertRatio: 2, sharedRatio: 1, balanceAlpha: 0.01 };

/** Two blocks of width 32 on 16 tokens. */
export const smallModel = (moe: Partial<MoeConfig> = {}): DitConfig => ({
  ...{ inputSize: [8, 8], patchSize: 2, inChannels: 4, hiddenSize: 32, depth: 2, numHeads: 4, mlpRatio: 4, numClasses: 10 },
  learnSigma: true,
  moe: { ...experts, ...moe },
});

/** Standard deviation of all weights: initial ones are zero in every modulation, which would leave the blocks without influence. */
const WEIGHT_STD = 0.2;

/** Weights on the current backend. */
export const randomWeights = (config: DitConfig): Record<string, tf.Tensor> =>
  Object.fromEntries(Object.entries(weightSpecs(config)).map(([name, { shape }]) => [name, normal(name, [...shape], WEIGHT_STD)]));

/** Standard normal numbers times `scale`, the same on every backend. */
export const normal = (purpose: string, shape: number[], scale = 1): tf.Tensor =>
  tf.tensor(
    randomNormal({ seed: 1, purpose: `selftest.${purpose}`, index: 0 }, tf.util.sizeFromShape(shape)).map((value) => value * scale),
    shape,
  );
