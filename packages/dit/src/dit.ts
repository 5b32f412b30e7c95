/**
 * The diffusion transformer (Peebles and Xie 2023) and its mixture-of-experts form (Fei et al. 2024, DiT-MoE), as one pure
 * function of weights and inputs: embedders, blocks (`block.ts`), final layer.
 *
 * Differs from the reference on purpose: any height and width, the balance loss is returned (the reference injects its
 * gradient), the router is float32 always, any number of classes.
 */
import type { Routing } from '@dit-moe/moe';
import { ArgumentError, embedding, linear, patchify, ShapeError, silu, unpatchify } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type DitOptions, type DitOutput, type DitWeights, ditBlock, modulatedNorm } from './block.js';
import { type DitConfig, ditSizes } from './config.js';
import { positionEmbedding, timestepEmbedding } from './embeddings.js';
import { TIMESTEP_CHANNELS } from './weights.js';

export type { DitOptions, DitOutput, DitWeights };

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
  const positions =
    config.positions === 'stored'
      ? weights['positions']
      : tf.tensor(Float32Array.from(positionEmbedding(config.hiddenSize, grid, config.positionGrid)), [tokens, config.hiddenSize]);
  const dense = (name: string, input: tf.Tensor): tf.Tensor => linear(input, weights[`${name}.weight`], weights[`${name}.bias`], options);

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
  return embedding(weights['labelEmbedding.table'], y);
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
  const half = tf.split(x, 2, 0)[0];
  const { output } = dit(weights, config, tf.concat([half, half]), t, y, options);
  const rest = output.shape[1]! - channels;
  const [guided, others] = tf.split(output, [channels, rest], 1) as [tf.Tensor, tf.Tensor];
  const [conditional, unconditional] = tf.split(guided, 2, 0) as [tf.Tensor, tf.Tensor];
  const mix = tf.add(unconditional, tf.mul(scale, tf.sub(conditional, unconditional)));
  return tf.concat([tf.concat([mix, mix]), others], 1);
}
