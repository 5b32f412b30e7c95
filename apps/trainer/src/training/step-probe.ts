/** How long a training step takes here, from a few timed ones of the model itself or, where it is large, of one of its blocks. */
import { type DitConfig, describeModel, type MoeConfig } from '@dit-moe/dit';
import * as tf from '@tensorflow/tfjs-core';
import type { TrainConfig } from '../config/schema.js';
import type { Batch } from './batches.js';
import { TrainingState } from './state.js';

/** Parameters up to which the whole model is timed. */
const WHOLE = 10_000_000;
/** Tokens of the smaller of the two batches; large enough that products run at their usual speed. */
const TOKENS = 512;
const TRIALS = 3;

export interface StepTime {
  /** Seconds of an optimizer step. */
  seconds: number;
  /** What was timed. */
  measured: 'model' | 'block';
}

/**
 * Times steps with two sizes of batch: the difference is the time of the images, which grows with the multiply-accumulates, and the
 * rest that of the optimizer, which grows with the parameters. One block has only as many experts as a token uses: the work per token
 * is the same.
 */
export async function timeStep(config: TrainConfig, model: DitConfig): Promise<StepTime> {
  const whole = describeModel(model);
  const measured = whole.parameters.total <= WHOLE ? 'model' : 'block';
  const { moe, ...dense } = model;
  const block: DitConfig = { ...dense, depth: 1, ...(moe !== undefined && { moe: expertsOfAToken(moe) }) };
  const probe = measured === 'model' ? model : block;
  const part = describeModel(probe);
  const { distillation: _teacher, ...rest } = config;
  const state = new TrainingState(probe, { ...rest, accumulation: 1 });
  try {
    const few = Math.max(1, Math.ceil(TOKENS / part.tokens));
    const [one, two] = [await time(state, few), await time(state, 2 * few)];
    const perImage = Math.max(0, two - one) / few;
    const rest = Math.max(0, one - few * perImage);
    return {
      seconds: config.batchSize * perImage * (whole.gmac.total / part.gmac.total) + rest * (whole.parameters.total / part.parameters.total),
      measured,
    };
  } finally {
    state.dispose();
  }
}

/** As many experts as a token uses, equal ones; who chooses them matters little to the time. */
function expertsOfAToken({ capacity, topK, expertRatio, sharedRatio, balanceAlpha, experts, ...moe }: MoeConfig): MoeConfig {
  const all = typeof capacity === 'object' ? capacity : [capacity ?? topK];
  const used = Math.max(1, Math.round(all.reduce((sum, one) => sum + one, 0) / all.length));
  const { scoreFunction, sharedGate } = moe;
  return {
    numExperts: used,
    topK: used,
    expertRatio,
    sharedRatio,
    balanceAlpha,
    scoreFunction,
    sharedGate,
    experts: experts === 'gelu' ? 'gelu' : 'swiglu',
  };
}

/** Seconds of a step, the best of a few after one that compiles. */
async function time(state: TrainingState, size: number): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let trial = 0; trial <= TRIALS; trial++) {
    const start = performance.now();
    await state.step([randomBatch(state, size)], 0);
    if (trial > 0) best = Math.min(best, (performance.now() - start) / 1000);
  }
  return best;
}

/** A batch of noise, for steps that are only timed. */
export function randomBatch({ model, objective }: TrainingState, size: number): Batch {
  const shape = [size, model.inChannels, ...model.inputSize];
  const indices = Array.from({ length: size }, (_, i) => i);
  return {
    x: tf.randomNormal(shape),
    noise: tf.randomNormal(shape),
    drawn: objective.draw({ seed: 0, purpose: 'probe', indices }),
    y: tf.tensor1d(
      Int32Array.from(indices, (i) => i % model.numClasses),
      'int32',
    ),
  };
}
