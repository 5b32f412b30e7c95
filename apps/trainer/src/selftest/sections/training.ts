/** Two training steps of two micro-batches: what they report, and weights, moments and average after them. */
import type { DitConfig } from '@dit-moe/dit';
import type { Precision } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { resolveConfig } from '../../config/resolve.js';
import type { TrainConfig } from '../../config/schema.js';
import { type StepReport, TrainingState } from '../../training/state.js';
import { compare, joined, type Multiplies, type Numbers } from '../compare.js';
import type { Finding } from '../finding.js';
import { BATCH, normal, randomWeights, smallModel } from '../small-model.js';

/** Gaussian diffusion as published, with everything on that a step may do. The large epsilon makes steps proportional to the gradients. */
const smallRun = (precision: Precision): TrainConfig =>
  resolveConfig({
    overrides: [
      'model={patchSize: 2, hiddenSize: 32, depth: 2, numHeads: 4}',
      'objective={kind: ddpm, learnSigma: true}',
      'optimizer={learningRate: 0.1, epsilon: 1, weightDecay: 0.01, clipNorm: 0.5}',
      `batchSize=${2 * BATCH}`,
      'accumulation=2',
      'ema=[0.5]',
      `precision=${precision}`,
    ],
  });

export async function training(multiplies: Multiplies): Promise<Finding[]> {
  return [
    await compare('two steps', multiplies, () => twoSteps(smallModel(), 'f32')),
    // All experts take part, for in bfloat16 another one may be chosen of two that are nearly equal.
    await compare('two steps, bf16', 'bf16', () => twoSteps(smallModel({ topK: 4 }), 'bf16')),
  ];
}

async function twoSteps(model: DitConfig, precision: Precision): Promise<Numbers> {
  const state = new TrainingState(model, smallRun(precision));
  const weights = randomWeights(model);
  for (const [name, value] of Object.entries(weights)) state.parameters[name].assign(value);
  tf.dispose(Object.values(weights));
  try {
    const reports: StepReport[] = [];
    for (const step of [0, 1])
      reports.push(
        await state.step(
          [0, 1].map((part) => batch(state, `${step}.${part}`)),
          0.1,
        ),
      );
    const numbers: Record<string, ArrayLike<number>> = {
      reports: reports.flatMap(({ loss, balance, gradNorm }) => [loss, balance, gradNorm]),
    };
    for (const [file, content] of Object.entries(state.files)) {
      const tensors = await content.snapshot();
      numbers[file] = joined(await Promise.all(tensors.map(async ({ bytes }) => floats(await bytes()))));
    }
    return numbers;
  } finally {
    state.dispose();
  }
}

const floats = (bytes: Uint8Array): Float32Array => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);

const batch = ({ objective }: TrainingState, name: string) => ({
  x: normal(`x.${name}`, [BATCH, 4, 8, 8]),
  noise: normal(`noise.${name}`, [BATCH, 4, 8, 8]),
  drawn: objective.draw({ seed: 1, purpose: `selftest.${name}`, indices: [0, 1, 2, 3] }),
  y: tf.tensor1d([1, 2, 3, 10], 'int32'),
});
