/** Feed-forward experts with matrices in int8, on rows that are laid out by expert: for inference, off the gradient tape. */
import {
  geluActivation,
  int8Product,
  int8Swiglu,
  joinRows,
  partsOf,
  type QuantizedRows,
  quantizeRows,
  reshapeRows,
  splitRows,
  swigluActivation,
  unstackRows,
} from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { Grouping } from '../dispatch/grouping.js';
import type { ExpertTensors, FeedForwardExperts } from './feed-forward.js';

/**
 * The results of the experts.
 *
 * @param rows `[R, D]`
 * @param weights matrices of integers, see `int8Tensor`
 * @param scales of their output channels, `[E, P, H]` (GELU: `[E, H]`) and `[E, D]`
 * @returns float32 `[R, D]`
 */
export function int8Experts(
  rows: QuantizedRows,
  kind: FeedForwardExperts['kind'],
  weights: ExpertTensors,
  scales: { up: tf.Tensor; down: tf.Tensor },
  { layout, counts }: Pick<Grouping, 'layout' | 'counts'>,
): tf.Tensor {
  const [numExperts, parts, activation] = [
    weights.up.shape[0],
    kind === 'gelu' ? 1 : 2,
    kind === 'gelu' ? geluActivation : swigluActivation,
  ];
  const slicing = layout === 'batch' ? undefined : partsOf(counts);
  /** Of the experts that have rows. */
  const experts = slicing?.present ?? Array.from({ length: numExperts }, (_, e) => e);
  const slices = (x: tf.Tensor): tf.Tensor[] =>
    slicing === undefined ? unstackRows(reshapeRows(x, [numExperts, -1, x.shape[1]!])) : splitRows(x, slicing);
  if (experts.length === 0) return tf.zeros(rows.values.shape);
  /** By expert, then by part. */
  const ofParts = (x: tf.Tensor, inner: number): tf.Tensor[][] => {
    const all = unstackRows(reshapeRows(x, [numExperts * parts, ...x.shape.slice(x.rank - inner)]));
    return Array.from({ length: numExperts }, (_, e) => all.slice(e * parts, (e + 1) * parts));
  };
  const [ups, upScales, upBiases] = [ofParts(weights.up, 2), ofParts(scales.up, 1), weights.upBias && ofParts(weights.upBias, 1)];
  const [downs, downScales, downBiases] = [weights.down, scales.down, weights.downBias].map((x) => x && unstackRows(x)) as [
    tf.Tensor[],
    tf.Tensor[],
    tf.Tensor[] | undefined,
  ];
  const biased = (x: tf.Tensor, bias: tf.Tensor | undefined) => (bias === undefined ? x : tf.add(x, bias));
  const [values, factors] = [slices(rows.values), slices(rows.scale)];
  return joinRows(
    experts.map((e, i) => {
      const own = { values: values[i], scale: factors[i] };
      const activated = (): QuantizedRows => {
        if (kind !== 'gelu' && upBiases === undefined) return int8Swiglu(own, ups[e], upScales[e]);
        const hidden = ups[e].map((w, p) => biased(int8Product(own, w, upScales[e][p]), upBiases?.[e][p]));
        return quantizeRows(activation(...(hidden as [tf.Tensor, tf.Tensor]))[0]);
      };
      return biased(int8Product(activated(), downs[e], downScales[e]), downBiases?.[e]);
    }),
  );
}
