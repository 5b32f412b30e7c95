/**
 * The diffusion transformer (Peebles and Xie 2023) and its mixture-of-experts form (Fei et al. 2024, DiT-MoE), as one pure
 * function of weights and inputs. Reading order: embedders, block, final layer, model.
 *
 * Differs from the reference on purpose: any height and width, the balance loss is returned (the reference injects its
 * gradient), the router is float32 always, any number of classes.
 */
import { type MoeOptions, moe, type Routing, sequenceBalanceLoss } from '@dit-moe/moe';
import {
  ArgumentError,
  attention,
  embedding,
  gatedResidual,
  gelu,
  layerNorm,
  layerNormModulate,
  linear,
  modulate,
  type Precision,
  patchify,
  rmsNorm,
  ShapeError,
  silu,
  swiglu,
  unpatchify,
} from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type DitConfig, ditSizes, hasExperts } from './config.js';
import { positionEmbedding, timestepEmbedding } from './embeddings.js';
import { rotate, rotation } from './rotary.js';
import { TIMESTEP_CHANNELS } from './weights.js';

/** Weights by name, see `weightSpecs`. */
export type DitWeights = Readonly<Record<string, tf.Tensor>>;

export interface DitOptions {
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

/**
 * Applies the model.
 *
 * @param weights by name
 * @param x `[B, C, H, W]`
 * @param t timesteps, float32 `[B]`, in the units that the model is trained with
 * @param y labels, int32 `[B]`, see `nullLabelOf`; ignored by an unconditional model, which may leave it out
 * @throws ShapeError if `x` does not fit the configuration
 */
export function dit(
  weights: DitWeights,
  config: DitConfig,
  x: tf.Tensor,
  t: tf.Tensor,
  y: tf.Tensor | undefined,
  options: DitOptions = {},
): DitOutput {
  const { grid, tokens, outChannels } = ditSizes(config);
  const [height, width] = config.inputSize;
  if (x.rank !== 4 || x.shape[1] !== config.inChannels || x.shape[2] !== height || x.shape[3] !== width) {
    throw new ShapeError('dit', `x [B, ${config.inChannels}, ${height}, ${width}]`, x.shape);
  }
  const positions = tf.tensor(Float32Array.from(positionEmbedding(config.hiddenSize, grid, config.positionGrid)), [1, tokens, config.hiddenSize]);
  const dense = (name: string, input: tf.Tensor): tf.Tensor => linear(input, weights[`${name}.weight`]!, weights[`${name}.bias`], options);

  const trace = options.trace ?? (() => {});
  const patchTokens = dense('patchEmbedding', patchify(x, config.patchSize)); // [B, T, D]
  let h = tf.add(patchTokens, positions);
  const sinusoids = timestepEmbedding(t, TIMESTEP_CHANNELS, config.timestepFrequencies);
  const time = dense('timestepEmbedding.1', silu(dense('timestepEmbedding.0', sinusoids)));
  const label = labelEmbedding(weights, config, y);
  const sum = label === undefined ? time : tf.add(time, label); // [B, D]
  const condition = silu(sum); // every use of the condition begins with it
  for (const [name, value] of Object.entries({ patches: patchTokens, tokens: h, timestep: time, ...(label && { label }), condition: sum }))
    trace(name, value);

  const losses: Record<string, tf.Scalar> = {};
  const routing: Routing[] = [];
  for (let b = 0; b < config.depth; b++) {
    const block = ditBlock(weights, config, b, h, condition, options);
    h = block.output;
    routing.push(...block.routing);
    for (const [name, loss] of Object.entries(block.losses))
      losses[name] = losses[name] === undefined ? loss : (tf.add(losses[name], loss) as tf.Scalar);
  }

  const [shift, scale] = tf.split(dense('finalLayer.modulation', condition), 2, 1) as [tf.Tensor, tf.Tensor];
  const patches = dense('finalLayer.output', modulatedNorm(weights, config, 'finalLayer.norm', h, shift, scale)); // [B, T, p p C]
  trace('finalPatches', patches);
  return { output: unpatchify(patches, config.patchSize, outChannels, grid), losses, routing };
}

/** Embedded labels `[B, D]`; undefined for an unconditional model. */
function labelEmbedding(weights: DitWeights, config: DitConfig, y: tf.Tensor | undefined): tf.Tensor | undefined {
  if (config.numClasses === 0) return undefined;
  if (y === undefined) throw new ArgumentError('dit: y', `labels, as the model has ${config.numClasses} classes`, y);
  return embedding(weights['labelEmbedding.table']!, y);
}

/** Norm of queries or keys. */
function headNorm(weights: DitWeights, config: DitConfig, name: string, heads: tf.Tensor): tf.Tensor {
  const scale = weights[`${name}.scale`]!;
  return config.norm === 'rms' ? rmsNorm(heads, scale) : layerNorm(heads, { scale, bias: weights[`${name}.bias`]! });
}

/** The norm `name`, times `1 + scale`, plus `shift`. */
function modulatedNorm(
  weights: DitWeights,
  config: DitConfig,
  name: string,
  x: tf.Tensor,
  shift: tf.Tensor,
  scale: tf.Tensor,
): tf.Tensor {
  if (config.norm !== 'rms') return layerNormModulate(x, shift, scale);
  return modulate(rmsNorm(x, weights[`${name}.scale`]!), shift, scale);
}

/** One block: adaLN-Zero attention, then adaLN-Zero feed-forward (dense or experts). */
function ditBlock(
  weights: DitWeights,
  config: DitConfig,
  layer: number,
  x: tf.Tensor,
  condition: tf.Tensor,
  options: DitOptions,
): DitOutput {
  const name = `blocks.${layer}`;
  const [batch, tokens, width] = x.shape as [number, number, number];
  const dense = (part: string, input: tf.Tensor): tf.Tensor =>
    linear(input, weights[`${name}.${part}.weight`]!, weights[`${name}.${part}.bias`], options);
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
  const heads = tf.reshape(qkv, [batch, tokens, 3 * config.numHeads, width / config.numHeads]);
  const [q, k, v] = tf.split(tf.transpose(heads, [0, 2, 1, 3]), 3, 1) as [tf.Tensor, tf.Tensor, tf.Tensor]; // [B, H, T, d]
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
        ? swiglu(normal, weights[`${name}.mlp.gateUp`]!, weights[`${name}.mlp.down`]!, options)
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
      gate: weights[`${name}.moe.gate`]!,
      experts: { gateUp: weights[`${name}.moe.experts.gateUp`]!, down: weights[`${name}.moe.experts.down`]! },
      ...(shared && { shared: { gateUp: shared, down: weights[`${name}.moe.shared.down`]! } }),
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

/**
 * Classifier-free guidance inside one forward pass, as the reference's `forward_with_cfg`: the first half of `x` is used for
 * both halves, `y` holds the labels, then the null labels; the first `channels` channels of both halves become the guided value
 * `uncond + scale (cond - uncond)`, the others stay those of their half.
 *
 * @param x `[2B, C, H, W]`, whose second half is ignored
 * @param channels 3 in the reference
 * @returns `[2B, C or 2C, H, W]`
 */
export function ditWithGuidance(
  weights: DitWeights,
  config: DitConfig,
  x: tf.Tensor,
  t: tf.Tensor,
  y: tf.Tensor,
  scale: number,
  channels = 3,
  options: DitOptions = {},
): tf.Tensor {
  const half = tf.split(x, 2, 0)[0]!;
  const { output } = dit(weights, config, tf.concat([half, half]), t, y, options);
  const rest = output.shape[1]! - channels;
  const [guided, others] = tf.split(output, [channels, rest], 1) as [tf.Tensor, tf.Tensor];
  const [conditional, unconditional] = tf.split(guided, 2, 0) as [tf.Tensor, tf.Tensor];
  const mix = tf.add(unconditional, tf.mul(scale, tf.sub(conditional, unconditional)));
  return tf.concat([tf.concat([mix, mix]), others], 1);
}
