/** A transformer block of DiT: attention and feed-forward layer, each with a modulated norm before and a gate after it (adaLN-Zero). */
import { type FeedForwardExperts, type MoeOptions, moe, type Routing, sequenceBalanceLoss } from '@dit-moe/moe';
import {
  ArgumentError,
  attention,
  gatedResidual,
  gelu,
  layerNorm,
  layerNormModulate,
  linear,
  modulate,
  type Precision,
  rmsNorm,
  swiglu,
} from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type DitConfig, ditSizes, hasExperts, type MoeConfig } from './config.js';
import { recomputed } from './recompute.js';
import { rotate, rotation } from './rotary.js';

/** Weights by name, see `weightSpecs`. */
export type DitWeights = Readonly<Record<string, tf.Tensor>>;

export interface DitOptions {
  /**
   * Compute each block again in the backward pass instead of keeping its activations (default false): training memory then grows by
   * one block's input per block, for about a third more time. What `moe` closes over gets no gradient then.
   */
  recompute?: boolean;
  /** Precision of matrix products (default `f32`). */
  precision?: Precision;
  /** Options of a layer's experts, such as a routing bias, recorded choices or further losses (default: none). */
  moe?: (layer: number) => MoeOptions;
  /**
   * Receives intermediate values by name, for inspection: `patches`, `tokens`, `timestep`, `label`, `condition`, of every block
   * `blocks.N.` with `attentionIn`, `attentionOut`, `feedForwardIn`, `feedForwardOut`, `output` and, with experts, `scores`,
   * `experts`, `expertWeights`, `load`, `balance`; `finalPatches`. They belong to the caller's `tf.tidy`.
   */
  trace?: (name: string, value: tf.Tensor) => void;
}

export interface DitOutput {
  /** `[B, C, H, W]`, or `[B, 2C, H, W]` with learned sigma. */
  output: tf.Tensor;
  /** Losses of the routers by name, each summed over the layers, not yet weighted: `balance` by default; empty without experts. */
  losses: Record<string, tf.Scalar>;
  /** What each layer's router did: choices, weights, scores, load; empty without experts. */
  routing: Routing[];
}

/** Norm of queries or keys. */
function headNorm(weights: DitWeights, config: DitConfig, name: string, heads: tf.Tensor): tf.Tensor {
  const scale = weights[`${name}.scale`];
  return config.norm === 'rms' ? rmsNorm(heads, scale) : layerNorm(heads, { scale, bias: weights[`${name}.bias`] });
}

/** The norm `name`, times `1 + scale`, plus `shift`. */
export function modulatedNorm(
  weights: DitWeights,
  config: DitConfig,
  name: string,
  x: tf.Tensor,
  shift: tf.Tensor,
  scale: tf.Tensor,
): tf.Tensor {
  if (config.norm !== 'rms') return layerNormModulate(x, shift, scale);
  return modulate(rmsNorm(x, weights[`${name}.scale`]), shift, scale);
}

/**
 * One block.
 * @throws ArgumentError if activations are to be recomputed and traced
 */
export function ditBlock(
  weights: DitWeights,
  config: DitConfig,
  layer: number,
  x: tf.Tensor,
  condition: tf.Tensor,
  options: DitOptions,
): DitOutput {
  if (options.recompute !== true) return block(weights, config, layer, x, condition, options);
  if (options.trace !== undefined) throw new ArgumentError('dit', 'either trace or recompute', 'both');
  const names = Object.keys(weights).filter((name) => name.startsWith(`blocks.${layer}.`));
  let shape: DitOutput | undefined;
  const { values, extra } = recomputed(
    ([input, c, ...own]) => {
      const inside = Object.fromEntries(names.map((name, i) => [name, own[i]]));
      shape = block(inside, config, layer, input, c, options);
      return {
        values: [shape.output, ...Object.values(shape.losses)],
        extra: shape.routing.flatMap((r) => tensorsOf(r).map(([, t]) => t)),
      };
    },
    [x, condition, ...names.map((name) => weights[name])],
  );
  const { losses, routing } = shape!;
  return {
    output: values[0],
    losses: Object.fromEntries(Object.keys(losses).map((name, i) => [name, values[i + 1] as tf.Scalar])),
    routing: routing.map((r) => ({ ...r, ...Object.fromEntries(tensorsOf(r).map(([name]) => [name, extra.shift()!])) })),
  };
}

const tensorsOf = (routing: Routing): [string, tf.Tensor][] =>
  Object.entries(routing).filter((entry): entry is [string, tf.Tensor] => entry[1] instanceof tf.Tensor);

function expertWeights(weights: DitWeights, { experts }: MoeConfig, name: string): FeedForwardExperts {
  const down = weights[`${name}.down`];
  if (experts !== 'gelu') return { gateUp: weights[`${name}.gateUp`], down };
  return { kind: 'gelu', up: weights[`${name}.up`], upBias: weights[`${name}.upBias`], down, downBias: weights[`${name}.downBias`] };
}

/** adaLN-Zero attention, then adaLN-Zero feed-forward (dense or experts). */
function block(weights: DitWeights, config: DitConfig, layer: number, x: tf.Tensor, condition: tf.Tensor, options: DitOptions): DitOutput {
  const name = `blocks.${layer}`;
  const [batch, tokens, width] = x.shape as [number, number, number];
  const dense = (part: string, input: tf.Tensor): tf.Tensor =>
    linear(input, weights[`${name}.${part}.weight`], weights[`${name}.${part}.bias`], options);
  const [shift1, scale1, gate1, shift2, scale2, gate2] = tf.split(dense('modulation', condition), 6, 1) as [
    tf.Tensor,
    tf.Tensor,
    tf.Tensor,
    tf.Tensor,
    tf.Tensor,
    tf.Tensor,
  ];

  const trace = (part: string, value: tf.Tensor): void => options.trace?.(`${name}.${part}`, value);
  const attentionIn = modulatedNorm(weights, config, `${name}.attentionNorm`, x, shift1, scale1);
  const qkv = dense('attention.qkv', attentionIn); // [B, T, 3 D]
  const heads = tf.reshape(qkv, [batch, tokens, 3, config.numHeads, width / config.numHeads]);
  const [q, k, v] = tf.unstack(tf.transpose(heads, [2, 0, 3, 1, 4])) as [tf.Tensor, tf.Tensor, tf.Tensor]; // [B, H, T, d]
  const turn = config.rotary === true ? rotation(width / config.numHeads, ditSizes(config).grid, config.positionGrid) : undefined;
  const prepared = (part: string, heads: tf.Tensor): tf.Tensor => {
    const normal = config.qkNorm === true ? headNorm(weights, config, `${name}.attention.${part}`, heads) : heads;
    return turn === undefined ? normal : rotate(normal, turn);
  };
  const mixed = attention(prepared('queryNorm', q), prepared('keyNorm', k), v, options); // [B, H, T, d]
  const attentionOut = dense('attention.output', tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [batch, tokens, width]));
  const h = gatedResidual(x, gate1, attentionOut);
  trace('attentionIn', attentionIn);
  trace('attentionOut', attentionOut);

  const normal = modulatedNorm(weights, config, `${name}.feedForwardNorm`, h, shift2, scale2);
  trace('feedForwardIn', normal);
  if (config.moe === undefined || !hasExperts(config, layer)) {
    const feedForwardOut =
      config.mlp === 'swiglu'
        ? tf.reshape(
            swiglu(tf.reshape(normal, [batch * tokens, width]), weights[`${name}.mlp.gateUp`], weights[`${name}.mlp.down`], options),
            [batch, tokens, width],
          )
        : dense('mlp.1', gelu(dense('mlp.0', normal)));
    const output = gatedResidual(h, gate2, feedForwardOut);
    trace('feedForwardOut', feedForwardOut);
    trace('output', output);
    return { output, losses: {}, routing: [] };
  }
  const shared = weights[`${name}.moe.shared.gateUp`];
  const experts = moe(
    tf.reshape(normal, [batch * tokens, width]),
    {
      gate: weights[`${name}.moe.gate`],
      experts: expertWeights(weights, config.moe, `${name}.moe.experts`),
      ...(shared && { shared: { gateUp: shared, down: weights[`${name}.moe.shared.down`] } }),
    },
    config.moe,
    {
      ...(options.precision && { precision: options.precision }),
      ...(config.moe.balanceOver === 'image' && { losses: { balance: sequenceBalanceLoss(batch) } }),
      ...options.moe?.(layer),
    },
  );
  const feedForwardOut = tf.reshape(experts.output, [batch, tokens, width]);
  const output = gatedResidual(h, gate2, feedForwardOut);
  const { routing, losses } = experts;
  trace('feedForwardOut', feedForwardOut);
  trace('output', output);
  trace('scores', routing.scores);
  trace('experts', routing.indices);
  trace('expertWeights', routing.weights);
  trace('load', routing.load);
  for (const [term, loss] of Object.entries(losses)) trace(term, loss);
  return { output, losses, routing: [routing] };
}
