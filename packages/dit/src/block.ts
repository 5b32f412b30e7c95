/** A transformer block of DiT: attention and feed-forward layer, each behind a modulated norm and before a gate (adaLN-Zero). */
import { type MoeOptions, moe, type Routing } from '@dit-moe/moe';
import type { RoutingRecord } from '@dit-moe/moe/selectors';
import {
  attention,
  gatedResidual,
  gelu,
  layerNorm,
  layerNormModulate,
  linear,
  modulate,
  type Precision,
  rmsNorm,
  type Scope,
  silu,
  swiglu,
} from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { DitConfig } from './config.js';
import { expertGroups, hasExperts } from './moe/moe-config.js';
import { type RouterTraining, routerOptions, type Sample } from './moe/router.js';
import { type Rotation, rotate } from './rotary.js';
import { sideBySide } from './side-by-side.js';

/** What a block is told besides its weights and tokens. */
export interface BlockContext {
  config: DitConfig;
  layer: number;
  /** Of timestep and label, `[B, D]`. */
  condition: tf.Tensor;
  /** What routers may go by; its embedding of the time reaches them through here. */
  sample: Sample;
  /** What routers are told of a training step (default: they choose as in sampling). */
  training?: RouterTraining;
  /** Choices of experts to repeat, of every block with experts in order (default: routers choose). */
  replay?: RoutingRecord;
  /** Rotary positions, if the model has them. */
  rotation?: Rotation;
  precision?: Precision;
  /** Options of the experts beside those of the configuration; a loss of an equal name takes the place of the configuration's. */
  moe?: Partial<MoeOptions>;
}

/** What a block gives. */
export interface BlockOutput {
  /** `[B, T, D]` */
  output: tf.Tensor;
  /** Losses of the router by name; empty without experts. */
  losses: Record<string, tf.Scalar>;
  /** What the router did; empty without experts. */
  routing: Routing[];
  /** Intermediate values by name, for inspection. */
  inside: Record<string, tf.Tensor>;
}

/** A block: its weights in a scope, tokens `[B, T, D]`. */
export type Block = (w: Scope, x: tf.Tensor, context: BlockContext) => BlockOutput;

/** `x = x + gate attention(norm(x))`, then `x = x + gate feedForward(norm(x))`, modulated by the condition. */
export const ditBlock: Block = (w, x, context) => {
  const chunks = modulation(w, context, 6); // [B, D] each
  // Experts keep the cores busy, a router may compare samples: those meet there.
  if (hasExperts(context.config, context.layer)) {
    const [h, feedForwardIn, attentionIn, attentionOut] = sideBySide([x, ...chunks], (...own) => attended(w, own, context)); // [B, T, D] each
    const plain = () => plainNorm(w.within('feedForwardNorm'), context.config, h); // [B, T, D]
    const { output: feedForwardOut, losses, routing } = feedForward(w, feedForwardIn, plain, context); // [B, T, D]
    const output = gatedResidual(h, chunks[5], feedForwardOut); // [B, T, D]
    return { output, losses, routing, inside: { attentionIn, attentionOut, feedForwardIn, feedForwardOut } };
  }
  const [output, attentionIn, attentionOut, feedForwardIn, feedForwardOut] = sideBySide([x, ...chunks], (...own) => {
    const [h, normed, ...inside] = attended(w, own, context); // [B, T, D] each
    const { output } = feedForward(w, normed, () => normed, context); // [B, T, D]
    return [gatedResidual(h, own[6], output), ...inside, normed, output]; // [B, T, D] each
  });
  return { output, losses: {}, routing: [], inside: { attentionIn, attentionOut, feedForwardIn, feedForwardOut } };
};

/**
 * The half of a block up to its feed-forward layer.
 * @returns the tokens, their norm before that layer, and the input and output of attention; `[B, T, D]` each
 */
function attended(w: Scope, [x, shift1, scale1, gate1, shift2, scale2]: readonly tf.Tensor[], context: BlockContext): tf.Tensor[] {
  const attentionIn = modulatedNorm(w.within('attentionNorm'), context.config, x, shift1, scale1); // [B, T, D]
  const attentionOut = selfAttention(w.within('attention'), attentionIn, context); // [B, T, D]
  const h = gatedResidual(x, gate1, attentionOut); // [B, T, D]
  return [h, modulatedNorm(w.within('feedForwardNorm'), context.config, h, shift2, scale2), attentionIn, attentionOut];
}

/** `x w + b` on the last axis. */
export const affine = (w: Scope, name: string, x: tf.Tensor, options: { precision?: Precision | undefined }): tf.Tensor =>
  linear(x, w(`${name}.weight`), w(`${name}.bias`), { precision: options.precision, scale: w.find(`${name}.weight.scale`) }); // [..., out]

/** Shifts, scales and gates of a block or of the final layer, `[B, D]` each. */
export const modulation = (w: Scope, { condition, precision }: Pick<BlockContext, 'condition' | 'precision'>, parts: number): tf.Tensor[] =>
  tf.split(affine(w, 'modulation', condition, { precision }), parts, 1); // [B, parts D] -> [B, D] each

/** The norm of `x` `[B, T, D]`, times `1 + scale`, plus `shift`. */
export function modulatedNorm(w: Scope, { norm }: DitConfig, x: tf.Tensor, shift: tf.Tensor, scale: tf.Tensor): tf.Tensor {
  if (norm === 'rms') return modulate(rmsNorm(x, w('scale')), shift, scale); // [B, T, D]
  return layerNormModulate(x, shift, scale); // [B, T, D]
}

/** The norm of `x` `[B, T, D]` alone. */
const plainNorm = (w: Scope, { norm }: DitConfig, x: tf.Tensor): tf.Tensor => (norm === 'rms' ? rmsNorm(x, w('scale')) : layerNorm(x));

/** Every token looks at every other. */
function selfAttention(w: Scope, x: tf.Tensor, context: BlockContext): tf.Tensor {
  const [batch, tokens, width] = x.shape as [number, number, number];
  const { numHeads } = context.config;
  const qkv = affine(w, 'qkv', x, context); // [B, T, 3 D]
  const heads = tf.reshape(qkv, [batch, tokens, 3, numHeads, width / numHeads]); // [B, T, 3, H, d]
  const [q, k, v] = tf.unstack(tf.transpose(heads, [2, 0, 3, 1, 4])); // [B, H, T, d] each
  const [query, key] = [positioned(w.within('queryNorm'), q, context), positioned(w.within('keyNorm'), k, context)]; // [B, H, T, d]
  const mixed = attention(query, key, v, context); // [B, H, T, d]
  const joined = tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [batch, tokens, width]); // [B, T, D]
  return affine(w, 'output', joined, context); // [B, T, D]
}

/** Queries or keys `[B, H, T, d]`, normalised and rotated by their positions, as far as the model does. */
function positioned(w: Scope, heads: tf.Tensor, { config: { qkNorm = false, norm }, rotation }: BlockContext): tf.Tensor {
  let h = heads;
  if (qkNorm) h = norm === 'rms' ? rmsNorm(h, w('scale')) : layerNorm(h, { scale: w('scale'), bias: w('bias') });
  return rotation === undefined ? h : rotate(h, rotation);
}

/** `silu(a) b` of the halves of the last axis. */
function gated(x: tf.Tensor): tf.Tensor {
  const [gate, value] = tf.split(x, 2, x.rank - 1) as [tf.Tensor, tf.Tensor];
  return tf.mul(silu(gate), value);
}

/** `(silu(x Wg) * (x Wu)) Wd` for `[N, D]`. */
const gatedMlp = (w: Scope, rows: tf.Tensor, precision: Precision | undefined): tf.Tensor =>
  swiglu(rows, w('gateUp'), w('down'), { precision, scales: { gateUp: w.find('gateUp.scale'), down: w.find('down.scale') } });

/** Each token by itself: a dense layer, or the experts that its router chooses. */
function feedForward(w: Scope, x: tf.Tensor, unmodulated: () => tf.Tensor, context: BlockContext): Omit<BlockOutput, 'inside'> {
  const { config, layer, precision } = context;
  const dense = (output: tf.Tensor) => ({ output, losses: {}, routing: [] });
  if (config.mlp !== 'swiglu' && !hasExperts(config, layer)) {
    const hidden = affine(w, 'mlp.0', x, context); // [B, T, H], or twice as wide if one half is a gate
    return dense(affine(w, 'mlp.1', config.mlp === 'swiglu-bias' ? gated(hidden) : gelu(hidden), context)); // [B, T, D]
  }
  const flat = (tokens: tf.Tensor): tf.Tensor => tf.reshape(tokens, [-1, x.shape[2]!]);
  const rows = flat(x); // [B T, D]
  if (config.moe === undefined || !hasExperts(config, layer)) return dense(tf.reshape(gatedMlp(w.within('mlp'), rows, precision), x.shape)); // [B, T, D]
  const place = { ...context, w: w.within('moe'), config: { ...config, moe: config.moe } };
  const router = routerOptions(place, rows, () => flat(unmodulated()));
  const { output, losses, routing } = moe(rows, place.w, {
    precision,
    experts: expertGroups(place.config, layer),
    ...router,
    ...context.moe,
    losses: { ...router.losses, ...context.moe?.losses },
  }); // [B T, D]
  return { output: tf.reshape(output, x.shape), losses, routing: [routing] }; // [B, T, D]
}
