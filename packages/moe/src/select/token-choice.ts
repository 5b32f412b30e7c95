/** Token choice: each token takes its best k experts. */
import { ArgumentError, oneHot, stopGradient, topK } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type Selector, scoresAt } from './selector.js';

/** Token choice beyond its number of experts. */
export interface TokenChoiceOptions {
  /** Added to the scores for the choice only, never to the weights: `[E]`, see `LoadBias` (default: none). */
  bias?: tf.Tensor;
  /**
   * Choose only among the experts of the best `keep` of `count` equal groups of neighbouring experts; a group's rank is the sum of
   * its two best scores (DeepSeek-V3, arXiv 2412.19437 section 2.1.2 and its reference code). Default: among all.
   */
  groups?: { count: number; keep: number };
}

/**
 * The best k experts of each token (Shazeer et al. 2017), best first; equal scores keep the lower expert first.
 *
 * @param k experts per token, `1 ... E`; 2 in DiT-MoE
 * @throws ArgumentError when it chooses, if `k` or the groups do not fit the number of experts
 */
export const tokenChoice =
  (k: number, { bias, groups }: TokenChoiceOptions = {}): Selector =>
  ({ scores, numExperts }) => {
    const available = groups === undefined ? numExperts : checkGroups(groups, numExperts);
    if (!Number.isInteger(k) || k < 1 || k > available) throw new ArgumentError('tokenChoice: k', `1 to ${available}`, k);
    if (bias === undefined && groups === undefined) {
      const { values, indices } = topK(scores, k);
      return { indices, weights: values, full: true };
    }
    const fixed = stopGradient(scores);
    const ranking = bias === undefined ? fixed : tf.add(fixed, stopGradient(bias));
    const { indices } = topK(groups === undefined ? ranking : bestGroups(ranking, groups), k);
    return { indices, weights: scoresAt(scores, indices), full: true };
  };

function checkGroups({ count, keep }: { count: number; keep: number }, numExperts: number): number {
  if (!Number.isInteger(count) || count < 1 || numExperts % count !== 0)
    throw new ArgumentError('tokenChoice: groups.count', `a positive divisor of ${numExperts} experts`, count);
  if (!Number.isInteger(keep) || keep < 1 || keep > count) throw new ArgumentError('tokenChoice: groups.keep', `1 to ${count}`, keep);
  return (keep * numExperts) / count;
}

/** `ranking` with the experts of all but the best groups far below every score. */
function bestGroups(ranking: tf.Tensor, { count, keep }: { count: number; keep: number }): tf.Tensor {
  const [tokens, numExperts] = ranking.shape as [number, number];
  const size = numExperts / count;
  const grouped = tf.reshape(ranking, [tokens, count, size]);
  const groupScores = tf.sum(tf.topk(grouped, Math.min(2, size)).values, -1); // [N, G]
  const best = tf.topk(groupScores, keep).indices;
  const kept = tf.expandDims(tf.sum(oneHot(best, count), 1), 2); // [N, G, 1]
  const penalty = tf.mul(tf.sub(1, kept), -1e30);
  return tf.reshape(tf.add(tf.mul(grouped, kept), penalty), [tokens, numExperts]);
}
