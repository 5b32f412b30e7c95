/** Both sides compute the same model: a small one with the same weights must give the same output, loss and gradients. */
import { type DitConfig, dit, weightSpecs } from '@dit-moe/dit';
import { randomNormal, valueAndGrads } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { BenchmarkError } from '../harness/benchmark.js';
import type { Peer } from '../harness/peer.js';
import { trainingLoss, WEIGHT_STD } from './model.js';

const config: DitConfig = {
  inputSize: [8, 8],
  patchSize: 2,
  inChannels: 4,
  hiddenSize: 32,
  depth: 2,
  numHeads: 4,
  mlpRatio: 4,
  numClasses: 10,
  learnSigma: true,
  moe: { numExperts: 8, topK: 2, expertRatio: 4, sharedRatio: 2, balanceAlpha: 0.01 },
};

/** float32 rounding through two blocks, forward and backward. */
const TOLERANCE = 1e-4;

/**
 * Compares the sides.
 * @throws BenchmarkError if they differ by more than rounding
 */
export async function checkAgreement(peer: Peer): Promise<void> {
  const host = (name: string, length: number, scale = 1): number[] =>
    Array.from(randomNormal({ seed: 1, purpose: `benchmark.${name}`, index: 0 }, length), (v) => v * scale);
  const specs = weightSpecs(config);
  const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
  // Larger than in the measurement, so that every block matters in so small a model.
  const weights = Object.fromEntries(
    Object.entries(specs).map(([name, { shape }]) => [name, { shape, data: host(name, size(shape), 10 * WEIGHT_STD) }]),
  );
  const inputs = { x: host('x', 2 * 4 * 64), target: host('target', 2 * 8 * 64), t: [17, 803], y: [3, 10] };
  const theirs = await peer.request<{ output: number[]; loss: number; gradNorm: number }>({ do: 'check', config, weights, ...inputs });
  const [output, loss, gradNorm] = tf.tidy(() => {
    const tensors = Object.fromEntries(Object.entries(weights).map(([name, { shape, data }]) => [name, tf.tensor(data, shape)]));
    const batch = [
      tf.tensor(inputs.x, [2, 4, 8, 8]),
      tf.tensor(inputs.target, [2, 8, 8, 8]),
      tf.tensor1d(inputs.t),
      tf.tensor1d(inputs.y, 'int32'),
    ] as const;
    const { value, grads } = valueAndGrads(() => ({ loss: trainingLoss(tensors, config, batch, 'f32') }), tensors);
    const squares = Object.values(grads).map((g) => tf.sum(tf.square(g)).dataSync()[0]);
    return [
      Array.from(dit(tensors, config, batch[0], batch[2], batch[3]).output.dataSync()),
      value.dataSync()[0],
      Math.sqrt(squares.reduce((a, b) => a + b)),
    ];
  }) as unknown as [number[], number, number];
  const scale = Math.max(...theirs.output.map(Math.abs));
  const differences = {
    output: Math.max(...output.map((v, i) => Math.abs(v - theirs.output[i]))) / scale,
    loss: Math.abs(loss / theirs.loss - 1),
    'gradient norm': Math.abs(gradNorm / theirs.gradNorm - 1),
  };
  for (const [what, difference] of Object.entries(differences)) {
    // Written so that NaN fails too.
    if (!(difference < TOLERANCE)) throw new BenchmarkError(`The peer computes another model: ${what} differs by ${difference}.`);
  }
}
