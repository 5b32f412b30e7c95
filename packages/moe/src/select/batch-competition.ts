/** Competition among the tokens of a whole batch: how experts are shared out while training, and the threshold that stands for it later. */
import { alone, type Collectives, stopGradient, toFloat } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { expertChoice, globalTopK } from './expert-choice.js';
import type { Selector } from './selector.js';
import { batchThreshold } from './threshold.js';

/** How tokens of a batch compete for experts. */
export interface BatchCompetitionOptions {
  /** `expert`: each expert takes its best tokens (DiffMoE); `all`: the best pairs of token and expert (Expert Race). */
  by: 'expert' | 'all';
  /** Mean number of experts per token, from which the load follows. */
  expertsPerToken: number;
  /** Compete over the batches of all ranks of a cluster, each of which has equally many tokens (default: one process). */
  collectives?: Collectives;
  /** What the threshold is a threshold of, `[N, E]` (default: the scores): a predictor's estimate of being chosen. */
  predicted?: tf.Tensor;
}

/**
 * `expertChoice` or `globalTopK` over a whole batch, which also says at which score the choice ended (`Selection.edge`). A sample depends on
 * its neighbours: sample with `threshold` of the running mean of these.
 *
 * @throws ArgumentError when it chooses, if the numbers do not fit the tokens
 */
export const batchCompetition =
  ({ by, expertsPerToken, collectives = alone, predicted }: BatchCompetitionOptions): Selector =>
  ({ scores, numExperts }) => {
    const ofAll = (x: tf.Tensor): tf.Tensor => (collectives.size === 1 ? stopGradient(x) : collectives.allGather(stopGradient(x)));
    const everybody = ofAll(scores); // [ranks N, E]
    const choice = by === 'all' ? globalTopK(expertsPerToken) : expertChoice(expertsPerToken);
    const { indices: all } = choice({ scores: everybody, logits: everybody, numExperts });
    const tokens = scores.shape[0];
    // GPUs slice int32 in host memory, float32 where it lies.
    const indices = tf.cast(tf.slice(toFloat(all), [collectives.rank * tokens, 0], [tokens, numExperts]), 'int32');
    const weights = tf.mul(scores, toFloat(tf.less(indices, numExperts)));
    const edge = batchThreshold(predicted === undefined ? everybody : ofAll(predicted), expertsPerToken, by);
    return { indices, weights, full: false, edge };
  };
