/** Expert choice and expert race: assignments compete for experts, so that the load is fixed and no balance loss is needed. */
import { ArgumentError, stopGradient } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { maskedSelection, topMask } from './mask.js';
import type { Selector } from './selector.js';

/** Among which tokens experts choose. */
export interface CompetitionOptions {
  /** Sequences of equal length in the batch among whose tokens the choice is made, each alone (default 1: over the whole batch). */
  sequences?: number;
}

/**
 * Each expert takes its best tokens (Zhou et al. 2022, arXiv 2202.09368): `expertsPerToken * tokens / numExperts` of each sequence
 * (EC-DiT, arXiv 2410.02098), or of the whole batch (DiffMoE's training, arXiv 2503.14487).
 *
 * The choice sees other tokens, so over the batch a sample depends on its neighbours; sample with `threshold` then.
 *
 * @param expertsPerToken mean number of experts per token, from which the load follows
 * @throws ArgumentError when it chooses, if the numbers do not fit the tokens
 */
export const expertChoice =
  (expertsPerToken: number, options: CompetitionOptions = {}): Selector =>
  ({ scores, numExperts }) => {
    const { sequences, length } = groupsOf('expertChoice', scores, expertsPerToken, options);
    const perExpert = atLeastOne((expertsPerToken * length) / numExperts);
    const byExpert = tf.transpose(tf.reshape(stopGradient(scores), [sequences, length, numExperts]), [0, 2, 1]);
    const mask = topMask(tf.reshape(byExpert, [sequences * numExperts, length]), perExpert);
    const byToken = tf.transpose(tf.reshape(mask, [sequences, numExperts, length]), [0, 2, 1]);
    return maskedSelection(scores, tf.reshape(byToken, scores.shape));
  };

/**
 * The best `expertsPerToken * tokens` of all pairs of token and expert (Expert Race, arXiv 2503.16057): both the tokens of an expert
 * and the experts of a token vary. As there, identity scores keep tokens comparable.
 *
 * @param expertsPerToken mean number of experts per token
 * @throws ArgumentError when it chooses, if the numbers do not fit the tokens
 */
export const globalTopK =
  (expertsPerToken: number, options: CompetitionOptions = {}): Selector =>
  ({ scores, numExperts }) => {
    const { sequences, length } = groupsOf('globalTopK', scores, expertsPerToken, options);
    const pairs = tf.reshape(stopGradient(scores), [sequences, length * numExperts]);
    const mask = topMask(pairs, atLeastOne(expertsPerToken * length));
    return maskedSelection(scores, tf.reshape(mask, scores.shape));
  };

const atLeastOne = (count: number): number => Math.max(1, Math.round(count));

function groupsOf(where: string, scores: tf.Tensor, expertsPerToken: number, { sequences = 1 }: CompetitionOptions) {
  const [tokens, numExperts] = scores.shape as [number, number];
  if (!(expertsPerToken > 0 && expertsPerToken <= numExperts))
    throw new ArgumentError(`${where}: expertsPerToken`, `more than 0, at most ${numExperts}`, expertsPerToken);
  if (!Number.isInteger(sequences) || sequences < 1 || tokens % sequences !== 0)
    throw new ArgumentError(`${where}: sequences`, `a positive divisor of the ${tokens} tokens`, sequences);
  return { sequences, length: tokens / sequences };
}
