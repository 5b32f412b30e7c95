/** Assignments that are not the router's to make: some tokens have an expert of their own. */
import { ArgumentError, ShapeError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type Selector, scoresAt } from './selector.js';

/** Where forced tokens go. */
export interface ForcedOptions {
  /** The last experts that only forced tokens may use (default 0). */
  reserved?: number;
  /** Weight of a forced expert: 1 (default, as ProMoE's unconditional expert), or its score. */
  weight?: 'one' | 'score';
}

/**
 * Sends some tokens to a given expert and lets `selector` choose for the others, among the experts that are not reserved (ProMoE, arXiv
 * 2510.24711: tokens of the null class have their own experts).
 *
 * Scores are those over all experts. For softmax over the unreserved ones only, let the scorer give the reserved a logit of -1e9.
 *
 * @param assignment expert of each token: int32 `[N]`; -1 leaves the choice to `selector`
 * @throws ShapeError or ArgumentError when it chooses, if assignment or reserved experts do not fit
 */
export const forced =
  (assignment: tf.Tensor, selector: Selector, { reserved = 0, weight = 'one' }: ForcedOptions = {}): Selector =>
  ({ scores, logits, numExperts }) => {
    const tokens = scores.shape[0];
    if (assignment.shape.join() !== `${tokens}`) throw new ShapeError('forced: assignment', `[${tokens}]`, assignment.shape);
    if (!Number.isInteger(reserved) || reserved < 0 || reserved >= numExperts)
      throw new ArgumentError('forced: reserved', `0 to ${numExperts - 1}`, reserved);
    const open = numExperts - reserved;
    const visible = (x: tf.Tensor) => (reserved === 0 ? x : tf.slice(x, [0, 0], [tokens, open]));
    const free = selector({ scores: visible(scores), logits: visible(logits), numExperts: open });
    const slots = free.indices.shape[1]!;

    const expert = tf.expandDims(tf.cast(assignment, 'float32'), 1); // [N, 1]
    const isForced = tf.cast(tf.greaterEqual(expert, 0), 'float32');
    const first = tf.tensor2d([[1, ...new Array<number>(slots - 1).fill(0)]]);
    // Empty slots of the inner selector hold `open`; ours hold `numExperts`.
    const chosen = tf.cast(free.indices, 'float32');
    const renumbered = tf.add(chosen, tf.mul(tf.cast(tf.equal(chosen, open), 'float32'), reserved));
    const own = tf.add(tf.mul(first, tf.sub(expert, numExperts)), numExperts);
    const indices = tf.cast(tf.add(renumbered, tf.mul(isForced, tf.sub(own, renumbered))), 'int32');
    const ownWeight = weight === 'one' ? tf.onesLike(expert) : scoresAt(scores, tf.cast(tf.maximum(expert, 0), 'int32'));
    const weights = tf.add(tf.mul(free.weights, tf.sub(1, isForced)), tf.mul(tf.mul(isForced, ownWeight), first));
    return { indices, weights, full: free.full && slots === 1 };
  };

/**
 * An assignment by label: tokens of samples with the null label go to `expert`, others are free.
 *
 * @param labels int32 `[B]`
 * @param tokens per sample
 * @returns int32 `[B * tokens]`
 */
export function assignNullClass(labels: tf.Tensor, tokens: number, nullLabel: number, expert: number): tf.Tensor {
  const isNull = tf.cast(tf.equal(labels, tf.scalar(nullLabel, 'int32')), 'float32');
  return perToken(tf.sub(tf.mul(isNull, expert + 1), 1), tokens);
}

/**
 * An assignment by timestep: samples whose timestep is in `[from, to)` go to that expert, others are free.
 *
 * @param timesteps `[B]`
 * @param tokens per sample
 * @param ranges apart from each other
 * @returns int32 `[B * tokens]`
 */
export function assignTimesteps(
  timesteps: tf.Tensor,
  tokens: number,
  ranges: readonly { from: number; to: number; expert: number }[],
): tf.Tensor {
  const t = tf.cast(timesteps, 'float32');
  const within = ranges.map(({ from, to, expert }) =>
    tf.mul(tf.cast(tf.logicalAnd(tf.greaterEqual(t, from), tf.less(t, to)), 'float32'), expert + 1),
  );
  return perToken(tf.sub(tf.addN([tf.zerosLike(t), ...within]), 1), tokens);
}

function perToken(ofSample: tf.Tensor, tokens: number): tf.Tensor {
  return tf.cast(tf.reshape(tf.mul(tf.expandDims(ofSample, 1), tf.ones([1, tokens])), [-1]), 'int32');
}
