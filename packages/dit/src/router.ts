/** The router of a block, made of its configuration. */
import {
  balanceLoss,
  cosineScorer,
  type LossTerms,
  linearScorer,
  type MoeOptions,
  type Scorer,
  type Selector,
  tokenChoice,
} from '@dit-moe/moe';
import { importanceLoss, routerSimilarityLoss, routerZLoss, routingContrastiveLoss, sequenceBalanceLoss } from '@dit-moe/moe/losses';
import { assignNullClass, assignTimesteps, expertChoice, forced } from '@dit-moe/moe/selectors';
import type { Scope } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type DitConfig, type MoeConfig, nullLabelOf, routableExperts } from './config.js';

/** What a router may go by besides the tokens. */
export interface Sample {
  /** Timesteps `[B]`, as the model is told them. */
  t: tf.Tensor;
  /** Labels, int32 `[B]`; an unconditional model has none. */
  y?: tf.Tensor;
  /** Embedding of the timestep, `[B, D]`. */
  time: tf.Tensor;
}

/** Logit of an expert that is not the router's to choose. */
const CLOSED = -1e9;

/**
 * @param w the weights of the block's experts
 * @param rows what the experts see, `[B T, D]`
 * @param unmodulated the same before shift and scale, `[B T, D]`; made when it is wanted
 */
export function routerOptions(
  w: Scope,
  config: DitConfig & { moe: MoeConfig },
  rows: tf.Tensor,
  unmodulated: () => tf.Tensor,
  sample: Sample,
): MoeOptions {
  const { moe } = config;
  const { scoreFunction, normalizeTopK, weightScale } = moe;
  const routerInput = inputOf(moe, rows, unmodulated, sample);
  const common = {
    scoreFunction,
    normalizeTopK,
    weightScale,
    routerInput,
    losses: lossesOf(w, moe, routerInput ?? rows, sample.t.shape[0]),
  };
  return { ...common, selector: selectorOf(w, config, rows.shape[0], sample), scorer: scorerOf(w, moe) };
}

/** What the router sees; undefined for what the experts see. */
function inputOf(
  { routerInput = 'modulated' }: MoeConfig,
  rows: tf.Tensor,
  unmodulated: () => tf.Tensor,
  { time }: Sample,
): tf.Tensor | undefined {
  if (routerInput === 'modulated') return undefined;
  if (routerInput === 'unmodulated') return unmodulated(); // [B T, D]
  if (routerInput === 'time') return time; // [B, D]
  const [batch, width] = time.shape as [number, number];
  const ofToken = tf.mul(tf.expandDims(time, 1), tf.ones([1, rows.shape[0] / batch, 1])); // [B, T, D]
  return tf.concat([unmodulated(), tf.reshape(ofToken, [-1, width])], 1); // [B T, 2 D]
}

function scorerOf(w: Scope, moe: MoeConfig): Scorer {
  const { router = 'token', numExperts } = moe;
  if (router === 'timestep') return (input) => tf.zeros([input.shape[0], numExperts]);
  // ProMoE's cosines have no temperature.
  const scorer = router === 'prototypes' ? cosineScorer(w('prototypes'), 1) : linearScorer(w('gate'));
  const closed = numExperts - routableExperts(moe);
  if (closed === 0) return scorer;
  return (input) => tf.concat([scorer(input), tf.fill([input.shape[0], closed], CLOSED)], 1);
}

function selectorOf(w: Scope, config: DitConfig & { moe: MoeConfig }, rows: number, { t, y }: Sample): Selector {
  const { router = 'token', topK, groups, numExperts, nullExpert = false, timeRange = 0 } = config.moe;
  const batch = t.shape[0];
  const tokens = rows / batch;
  if (router === 'expert-choice') return expertChoice(topK, { sequences: batch });
  if (router === 'timestep') {
    const edge = (expert: number): number =>
      expert === 0 ? Number.NEGATIVE_INFINITY : expert === numExperts ? Number.POSITIVE_INFINITY : (expert * timeRange) / numExperts;
    const ranges = Array.from({ length: numExperts }, (_, expert) => ({ from: edge(expert), to: edge(expert + 1), expert }));
    return forced(assignTimesteps(t, tokens, ranges), tokenChoice(1));
  }
  const choice = tokenChoice(topK, { groups, bias: config.moe.loadBias === undefined ? undefined : w('bias') });
  return nullExpert ? forced(assignNullClass(y!, tokens, nullLabelOf(config)!, numExperts - 1), choice, { reserved: 1 }) : choice;
}

function lossesOf(w: Scope, { balanceOver, losses = {} }: MoeConfig, input: tf.Tensor, batch: number): LossTerms {
  const further = {
    z: () => routerZLoss,
    importance: () => importanceLoss,
    similarity: () => routerSimilarityLoss,
    contrastive: () => routingContrastiveLoss(input, w('prototypes')),
  };
  const wanted = (Object.keys(losses) as (keyof typeof further)[]).map((name) => [name, further[name]()] as const);
  return { balance: balanceOver === 'image' ? sequenceBalanceLoss(batch) : balanceLoss, ...Object.fromEntries(wanted) };
}
