/**
 * Experts that are not alike, behind one plan: several stacks of feed-forward experts of different widths, and experts that cost nothing
 * (MoE++, arXiv 2410.07348: zero, copy and constant experts let a token use less than k feed-forward layers).
 */
import { ArgumentError, customGradient, oneHot, ShapeError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { RoutingPlan } from '../plan.js';
import type { FeedForwardExperts } from './feed-forward.js';
import { type RoutedExpertsOptions, routedExperts } from './routed-experts.js';

/** The weights of some of the experts. */
export type GroupWeights =
  | FeedForwardExperts
  | { kind: 'zero'; count: number }
  | { kind: 'copy'; count: number }
  /** `value` `[n, D]`; `mix` `[D, 2 n]` makes it a blend with the input. */
  | { kind: 'constant'; value: tf.Tensor; mix?: tf.Tensor };

/** Number of experts in a group. */
function expertCount(group: GroupWeights): number {
  switch (group.kind) {
    case 'zero':
    case 'copy':
      return group.count;
    case 'constant':
      return group.value.shape[0];
    case 'gelu':
      return group.up.shape[0];
    default:
      return group.gateUp.shape[0];
  }
}

/**
 * `routedExperts` for groups of different kinds.
 * @throws ArgumentError if the groups do not have as many experts as the plan, or are modulated
 */
export function groupedExperts(
  x: tf.Tensor,
  plan: RoutingPlan,
  groups: readonly GroupWeights[],
  options: RoutedExpertsOptions = {},
): { output: tf.Tensor; dropped?: tf.Scalar } {
  if (options.expertRanks !== undefined) {
    const [group] = groups;
    if (groups.length > 1 || group.kind === 'zero' || group.kind === 'copy' || group.kind === 'constant')
      throw new ArgumentError(
        'experts: expertRanks',
        'a single group of feed-forward experts',
        groups.map(({ kind = 'swiglu' }) => kind).join(),
      );
    return routedExperts(x, plan, group, options);
  }
  const total = groups.reduce((sum, group) => sum + expertCount(group), 0);
  if (total !== plan.numExperts) throw new ArgumentError('experts', `groups of ${plan.numExperts} experts together`, total);
  if (options.modulation !== undefined && groups.length > 1)
    throw new ArgumentError('experts: modulation', 'a single group of experts', `${groups.length} groups`);
  let first = 0;
  const outputs: tf.Tensor[] = [];
  const dropped: tf.Scalar[] = [];
  for (const group of groups) {
    const count = expertCount(group);
    const local = partOf(plan, first, count);
    first += count;
    if (group.kind === 'zero') continue;
    if (group.kind === 'copy' || group.kind === 'constant') {
      outputs.push(cheapExperts(x, perExpert(local), group));
      continue;
    }
    const result = routedExperts(x, local, group, options);
    outputs.push(result.output);
    if (result.dropped !== undefined) dropped.push(result.dropped);
  }
  const output = outputs.length === 0 ? tf.zerosLike(x) : outputs.reduce((a, b) => tf.add(a, b));
  return { output, ...(dropped.length > 0 && { dropped: dropped.reduce((a, b) => tf.add(a, b)) }) };
}

/** The plan for experts `first ... first + count - 1` only: the slots of all others are empty. */
function partOf(plan: RoutingPlan, first: number, count: number): Pick<RoutingPlan, 'indices' | 'weights' | 'numExperts' | 'full'> {
  if (count === plan.numExperts) return plan;
  const local = tf.sub(tf.cast(plan.indices, 'float32'), first);
  const inside = tf.cast(tf.logicalAnd(tf.greaterEqual(local, 0), tf.less(local, count)), 'float32');
  const indices = tf.cast(tf.add(tf.mul(inside, tf.sub(local, count)), count), 'int32');
  return { indices, weights: tf.mul(plan.weights, inside), numExperts: count, full: false };
}

/** Weight of each expert for each token, `[N, count]`, differentiable. */
function perExpert({ indices, weights, numExperts }: Pick<RoutingPlan, 'indices' | 'weights' | 'numExperts'>): tf.Tensor {
  const chosen = oneHot(indices, numExperts); // [N, m, E]
  return customGradient(
    [weights],
    ([weights]) => ({ value: tf.sum(tf.mul(chosen, tf.expandDims(weights, 2)), 1), saved: [chosen] }),
    (dy, [chosen]) => [tf.sum(tf.mul(chosen, tf.expandDims(dy, 1)), 2)],
  );
}

function cheapExperts(x: tf.Tensor, weights: tf.Tensor, group: Extract<GroupWeights, { kind: 'copy' | 'constant' }>): tf.Tensor {
  if (group.kind === 'copy') return tf.mul(x, tf.sum(weights, 1, true));
  const { value, mix } = group;
  const [count, width] = value.shape as [number, number];
  if (width !== x.shape[1]) throw new ShapeError('experts: constant', `value [n, ${x.shape[1]}]`, value.shape);
  if (mix === undefined) return tf.matMul(weights as tf.Tensor2D, value as tf.Tensor2D);
  if (mix.shape.join() !== `${width},${2 * count}`) throw new ShapeError('experts: constant', `mix [${width}, ${2 * count}]`, mix.shape);
  const logits = tf.reshape(tf.matMul(x as tf.Tensor2D, mix as tf.Tensor2D), [-1, count, 2]);
  const [ofInput, ofValue] = tf.split(tf.softmax(logits), 2, 2).map((part) => tf.mul(tf.reshape(part, [-1, count]), weights)) as [
    tf.Tensor2D,
    tf.Tensor2D,
  ];
  return tf.add(tf.mul(x, tf.sum(ofInput, 1, true)), tf.matMul(ofValue, value as tf.Tensor2D));
}
