/**
 * The diffusion transformer (Peebles and Xie 2023) and its mixture-of-experts form (Fei et al. 2024, DiT-MoE), as one pure
 * function of weights and inputs. Reading order: embedders, block, final layer, model.
 *
 * Differs from the reference on purpose: any height and width, the balance loss is returned (the reference injects its
 * gradient), the router is float32 always, any number of classes.
 */
import { moe } from '@dit-moe/moe';
import {
  attention,
  embedding,
  gatedResidual,
  gelu,
  layerNormModulate,
  linear,
  type Precision,
  patchify,
  ShapeError,
  silu,
  unpatchify,
} from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type DitConfig, ditSizes } from './config.js';
import { positionEmbedding, timestepEmbedding } from './embeddings.js';
import { TIMESTEP_CHANNELS } from './weights.js';

/** Weights by name, see `weightSpecs`. */
export type DitWeights = Readonly<Record<string, tf.Tensor>>;

export interface DitOptions {
  /** Precision of matrix products (default `f32`). */
  precision?: Precision;
}

export interface DitOutput {
  /** `[B, C, H, W]`, or `[B, 2C, H, W]` with learned sigma. */
  output: tf.Tensor;
  /** Sum over the layers of the balance loss, not yet times alpha; `undefined` without experts. */
  balance?: tf.Scalar;
  /** Tokens per layer and expert, float32 `[layers, E]`; `undefined` without experts. */
  load?: tf.Tensor;
}

/**
 * Applies the model.
 *
 * @param weights by name
 * @param x `[B, C, H, W]`
 * @param t timesteps, float32 `[B]`, in the units that the model is trained with
 * @param y labels, int32 `[B]`; `numClasses` is the null label
 * @throws ShapeError if `x` does not fit the configuration
 */
export function dit(weights: DitWeights, config: DitConfig, x: tf.Tensor, t: tf.Tensor, y: tf.Tensor, options: DitOptions = {}): DitOutput {
  const { grid, tokens, outChannels } = ditSizes(config);
  const [height, width] = config.inputSize;
  if (x.rank !== 4 || x.shape[1] !== config.inChannels || x.shape[2] !== height || x.shape[3] !== width) {
    throw new ShapeError('dit', `x [B, ${config.inChannels}, ${height}, ${width}]`, x.shape);
  }
  const positions = tf.tensor(Float32Array.from(positionEmbedding(config.hiddenSize, grid)), [1, tokens, config.hiddenSize]);
  const dense = (name: string, input: tf.Tensor): tf.Tensor => linear(input, weights[`${name}.weight`]!, weights[`${name}.bias`], options);

  let h = tf.add(dense('patchEmbedding', patchify(x, config.patchSize)), positions); // [B, T, D]
  const time = dense('timestepEmbedding.1', silu(dense('timestepEmbedding.0', timestepEmbedding(t, TIMESTEP_CHANNELS))));
  const condition = silu(tf.add(time, embedding(weights['labelEmbedding.table']!, y))); // [B, D]

  const balances: tf.Scalar[] = [];
  const loads: tf.Tensor[] = [];
  for (let b = 0; b < config.depth; b++) {
    const block = ditBlock(weights, config, `blocks.${b}`, h, condition, options);
    h = block.output;
    if (block.balance !== undefined) balances.push(block.balance);
    if (block.load !== undefined) loads.push(block.load);
  }

  const [shift, scale] = tf.split(dense('finalLayer.modulation', condition), 2, 1) as [tf.Tensor, tf.Tensor];
  const patches = dense('finalLayer.output', layerNormModulate(h, shift, scale)); // [B, T, p p C]
  return {
    output: unpatchify(patches, config.patchSize, outChannels, grid),
    ...(balances.length === 0 ? {} : { balance: balances.reduce((a, b) => tf.add(a, b)), load: tf.stack(loads) }),
  };
}

/** One block: adaLN-Zero attention, then adaLN-Zero feed-forward (dense or experts). */
function ditBlock(
  weights: DitWeights,
  config: DitConfig,
  name: string,
  x: tf.Tensor,
  condition: tf.Tensor,
  options: DitOptions,
): DitOutput {
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

  const qkv = dense('attention.qkv', layerNormModulate(x, shift1, scale1)); // [B, T, 3 D]
  const heads = tf.reshape(qkv, [batch, tokens, 3 * config.numHeads, width / config.numHeads]);
  const [q, k, v] = tf.split(tf.transpose(heads, [0, 2, 1, 3]), 3, 1) as [tf.Tensor, tf.Tensor, tf.Tensor]; // [B, H, T, d]
  const mixed = tf.reshape(tf.transpose(attention(q, k, v, options), [0, 2, 1, 3]), [batch, tokens, width]);
  const h = gatedResidual(x, gate1, dense('attention.output', mixed));

  const normal = layerNormModulate(h, shift2, scale2);
  if (config.moe === undefined) return { output: gatedResidual(h, gate2, dense('mlp.1', gelu(dense('mlp.0', normal)))) };
  const shared = weights[`${name}.moe.shared.gateUp`];
  const experts = moe(
    tf.reshape(normal, [batch * tokens, width]),
    {
      gate: weights[`${name}.moe.gate`]!,
      expertsGateUp: weights[`${name}.moe.experts.gateUp`]!,
      expertsDown: weights[`${name}.moe.experts.down`]!,
      ...(shared === undefined ? {} : { sharedGateUp: shared, sharedDown: weights[`${name}.moe.shared.down`]! }),
    },
    config.moe,
    options,
  );
  return {
    output: gatedResidual(h, gate2, tf.reshape(experts.output, [batch, tokens, width])),
    balance: experts.losses.balance,
    load: experts.load,
  };
}
