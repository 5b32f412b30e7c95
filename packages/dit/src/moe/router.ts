/** The router of a block, made of its configuration. */
import {
  balanceLoss,
  cosineScorer,
  type LossTerms,
  linearScorer,
  type MoeOptions,
  mlpScorer,
  type RouterNoise,
  type Scorer,
  type Selector,
  tokenChoice,
} from '@dit-moe/moe';
import {
  capacityLoss,
  clusterBalanceLoss,
  globalBalanceLoss,
  importanceLoss,
  loadLoss,
  routerSimilarityLoss,
  routerZLoss,
  routingContrastiveLoss,
  sequenceBalanceLoss,
} from '@dit-moe/moe/losses';
import {
  assignNullClass,
  assignTimesteps,
  batchCompetition,
  expertChoice,
  forced,
  normalizedByExpert,
  type RoutingRecord,
  replayLayer,
  threshold,
} from '@dit-moe/moe/selectors';
import { type Collectives, type Scope, stopGradient } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type DitConfig, nullLabelOf } from '../config.js';
import { expertLayers, expertsPerToken, type MoeConfig, routableExperts, samplesCompete } from './moe-config.js';

/** What a router may go by besides the tokens. */
export interface Sample {
  /** Timesteps `[B]`, as the model is told them. */
  t: tf.Tensor;
  /** Labels, int32 `[B]`; an unconditional model has none. */
  y?: tf.Tensor;
  /** Embedding of the timestep, `[B, D]`. */
  time: tf.Tensor;
}

/** What routers are told of a training step; without it they choose as in sampling, where no sample depends on another. */
export interface RouterTraining {
  /** A cluster, over all of whose batches tokens compete and the load is balanced (default: one process). */
  collectives?: Collectives;
  /** Multiplies the capacity (default 1), see `capacityScale`. */
  capacityScale?: number;
  /** Noise of each block with experts, in order (default: none), see `routerNoise`. */
  noise?: readonly RouterNoise[];
  /** What earlier micro-batches of the step, on all ranks, sent to each expert of each block with experts, `[E]` (default: there were none). */
  earlierLoad?: readonly tf.Tensor[];
}

/** Where a router is. */
export interface RouterPlace {
  /** The weights of the block's experts. */
  w: Scope;
  config: DitConfig & { moe: MoeConfig };
  /** Number of the block. */
  layer: number;
  sample: Sample;
  training?: RouterTraining;
  /** Choices to repeat, of every block with experts in order. */
  replay?: RoutingRecord;
}

/** Logit of an expert that is not the router's to choose. */
const CLOSED = -1e9;

/**
 * @param rows what the experts see, `[B T, D]`
 * @param unmodulated the same before shift and scale, `[B T, D]`; made when it is wanted
 */
export function routerOptions(place: RouterPlace, rows: tf.Tensor, unmodulated: () => tf.Tensor): MoeOptions {
  const { w, config, layer, training, sample } = place;
  const { moe } = config;
  const { scoreFunction, normalizeTopK, weightScale } = moe;
  const input = inputOf(moe, rows, unmodulated, sample);
  const seen = input ?? rows;
  const predicted = moe.router === 'threshold' ? predictor(w)(stopGradient(seen)) : undefined; // [B T, E]
  const noise = training?.noise?.[expertLayers(config).indexOf(layer)];
  return {
    scoreFunction,
    normalizeTopK: normalizeTopK === true,
    weightScale,
    routerInput: input,
    ...(noise && { noise }),
    selector: selectorOf(place, rows.shape[0], predicted),
    scorer: scorerOf(w, moe),
    losses: lossesOf(place, seen, predicted, noise),
  };
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

/** Foresees which experts a token gets in the competition over a batch. */
const predictor = (w: Scope): Scorer =>
  mlpScorer({
    hidden: w('predictor.hidden'),
    hiddenBias: w('predictor.hiddenBias'),
    output: w('predictor.output'),
    outputBias: w('predictor.outputBias'),
  });

/** The estimated threshold: the running sum over how much of it there is, which stays right in averages of the weights. */
const estimate = (w: Scope): tf.Tensor => tf.div(stopGradient(w('threshold.sum')), tf.maximum(stopGradient(w('threshold.share')), 1e-30));

function selectorOf(place: RouterPlace, rows: number, foreseen?: tf.Tensor): Selector {
  const { w, config, layer, sample, training, replay } = place;
  const { t, y } = sample;
  const { router = 'token', topK, groups, numExperts, nullExpert = false, timeRange = 0, normalizeTopK } = config.moe;
  const batch = t.shape[0];
  const tokens = rows / batch;
  if (router === 'timestep') {
    const edge = (expert: number): number =>
      expert === 0 ? Number.NEGATIVE_INFINITY : expert === numExperts ? Number.POSITIVE_INFINITY : (expert * timeRange) / numExperts;
    const ranges = Array.from({ length: numExperts }, (_, expert) => ({ from: edge(expert), to: edge(expert + 1), expert }));
    return forced(assignTimesteps(t, tokens, ranges), tokenChoice(1));
  }
  const recorded = replay && replayLayer(replay, expertLayers(config).indexOf(layer));
  const capacity = expertsPerToken(config, layer) * (training?.capacityScale ?? 1);
  if (router === 'expert-choice') {
    const choice = recorded ?? expertChoice(capacity, { sequences: batch });
    return normalizeTopK === 'expert' ? normalizedByExpert(choice, batch) : choice;
  }
  if (samplesCompete(config.moe)) {
    if (recorded !== undefined) return recorded;
    const predicted = foreseen && tf.sigmoid(foreseen);
    if (training === undefined) return threshold(estimate(w), predicted);
    const { collectives } = training;
    return batchCompetition({ by: router === 'race' ? 'all' : 'expert', expertsPerToken: capacity, collectives, predicted });
  }
  const choice = recorded ?? tokenChoice(topK, { groups, bias: config.moe.loadBias === undefined ? undefined : w('bias') });
  return nullExpert ? forced(assignNullClass(y!, tokens, nullLabelOf(config)!, numExperts - 1), choice, { reserved: 1 }) : choice;
}

function lossesOf(place: RouterPlace, seen: tf.Tensor, predicted: tf.Tensor | undefined, noise: RouterNoise | undefined): LossTerms {
  const { w, config, sample, training } = place;
  const { balanceOver, losses = {}, topK, noise: deviations } = config.moe;
  const batch = sample.t.shape[0];
  const collectives = training?.collectives;
  const overBatch = collectives === undefined ? balanceLoss : clusterBalanceLoss(collectives);
  const further = {
    sequence: () => sequenceBalanceLoss(batch),
    global: () => globalLoss(place),
    z: () => routerZLoss,
    importance: () => importanceLoss,
    load: () => {
      const drawn = noise?.gate;
      return ((routing) =>
        loadLoss({ topK, std: deviations!.gate!, noise: drawn ?? tf.zerosLike(routing.logits) })(routing)) as typeof balanceLoss;
    },
    similarity: () => routerSimilarityLoss,
    contrastive: () => routingContrastiveLoss(seen, w('prototypes')),
    capacity: () => capacityLoss(predicted!),
  };
  const names = [...(predicted === undefined ? [] : ['capacity' as const]), ...(Object.keys(losses) as (keyof typeof further)[])];
  const wanted = [...new Set(names)].map((name) => [name, further[name]()] as const);
  return { balance: balanceOver === 'image' ? sequenceBalanceLoss(batch) : overBatch, ...Object.fromEntries(wanted) };
}

/** Balance over the step's whole batch, as far as it is known: this micro-batch on all ranks, and those before it. */
function globalLoss({ config, layer, training }: RouterPlace): typeof balanceLoss {
  const { collectives, earlierLoad } = training ?? {};
  return (routing) => {
    const { load } = routing;
    const elsewhere = collectives === undefined ? tf.zerosLike(load) : tf.sub(collectives.allReduce(load), load);
    const earlier = earlierLoad?.[expertLayers(config).indexOf(layer)];
    return globalBalanceLoss(earlier === undefined ? elsewhere : tf.add(elsewhere, earlier))(routing);
  };
}
