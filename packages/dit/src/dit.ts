/**
 * The diffusion transformer (Peebles and Xie 2023) and its mixture-of-experts form (Fei et al. 2024, DiT-MoE), as one pure
 * function of weights and inputs: embedders, blocks (`block.ts`), final layer.
 *
 * Differs from the reference on purpose: any height and width, the balance loss is returned (the reference injects its
 * gradient), the router is float32 always, any number of classes.
 */
import type { MoeOptions, Routing } from '@dit-moe/moe';
import type { RoutingRecord } from '@dit-moe/moe/selectors';
import {
  ArgumentError,
  embedding,
  linear,
  type Precision,
  patchify,
  type Scope,
  ShapeError,
  scoped,
  silu,
  unpatchify,
  type Weights,
} from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { affine, type Block, ditBlock, modulatedNorm, modulation } from './block.js';
import { type DitConfig, ditSizes } from './config.js';
import { positionEmbedding, timestepEmbedding } from './embeddings.js';
import type { RouterTraining } from './moe/router.js';
import { recomputedBlock } from './recomputed-block.js';
import { behindUnrotated, rotation } from './rotary.js';
import { type Trace, tracedBlock } from './traced-block.js';
import { LABEL_TABLE, TIMESTEP_CHANNELS } from './weights.js';

/** How a pass through the model is computed and observed. */
export interface DitOptions {
  /**
   * Compute each block again in the backward pass instead of keeping its activations (default false): training memory then grows by
   * one block's input per block, for about a third more time. What `moe` closes over gets no gradient then.
   */
  recompute?: boolean;
  /** Precision of matrix products (default `f32`). */
  precision?: Precision;
  /** A training step, as its routers are told of it (default: they choose as in sampling, where no sample depends on another). */
  training?: RouterTraining;
  /** Choices of experts to repeat, as `recordRouting` reads them from {@link DitOutput.routing} (default: routers choose). */
  replay?: RoutingRecord;
  /** Options of a layer's experts beside those of the configuration: recorded choices, further losses, noise (default: none). */
  moe?: (layer: number) => Partial<MoeOptions>;
  /**
   * Receives intermediate values by name, for inspection: `patches`, `tokens`, `timestep`, `label`, `condition`, of every block
   * `blocks.N.` with `attentionIn`, `attentionOut`, `feedForwardIn`, `feedForwardOut`, `output` and, with experts, `scores`,
   * `experts`, `expertWeights`, `load`, `balance`; `finalPatches`. They belong to the caller's `tf.tidy`.
   */
  trace?: Trace;
}

/** What a pass through the model gives. */
export interface DitOutput {
  /** `[B, C, H, W]`, or `[B, 2C, H, W]` with learned sigma. */
  output: tf.Tensor;
  /** Losses of the routers by name, each summed over the layers, not yet weighted: `balance` by default; empty without experts. */
  losses: Record<string, tf.Scalar>;
  /** Outputs of the blocks, `[B, T, D]` each. */
  hidden: tf.Tensor[];
  /** What each layer's router did: choices, weights, scores, load; empty without experts. */
  routing: Routing[];
}

/**
 * Applies the model.
 *
 * @param weights by name, see `weightSpecs`
 * @param x `[B, C, H, W]`
 * @param t timesteps, float32 `[B]`, in the units that the model is trained with
 * @param y labels, int32 `[B]`, see `nullLabelOf`; ignored by an unconditional model, which may leave it out
 * @throws ShapeError if `x` does not fit the configuration; MissingWeightError with the name of a weight that is not there; ArgumentError
 *   if labels are missing, or if activations are to be recomputed and traced
 */
export function dit(
  weights: Weights,
  config: DitConfig,
  x: tf.Tensor,
  t: tf.Tensor,
  y: tf.Tensor | undefined,
  options: DitOptions = {},
): DitOutput {
  const { grid, headSize, outChannels } = ditSizes(config);
  checkInput(config, x, options);
  const { trace = () => {}, precision, moe, training, replay } = options;
  const w = scoped(weights);
  const block: Block = options.recompute ? recomputedBlock(ditBlock) : options.trace ? tracedBlock(ditBlock, trace) : ditBlock;

  let h = embedPatches(w, config, x, options); // [B, T, D]
  const time = embedTime(w, config, t, options); // [B, D]
  const condition = embedCondition(w, config, time, y, options); // [B, D]
  /** What a block goes by, `[B, D]`. */
  const conditionOf = (layer: number): tf.Tensor => {
    if (layer === 0 || config.blockEmbedders !== true) return condition;
    const own = w.within(`blocks.${layer}`);
    return embedCondition(own, config, embedTime(own, config, t, { precision }), y, { precision });
  };
  const { count = 0, from = config.depth } = config.classTokens ?? {};
  const tables = config.rotary ? rotation(headSize, grid, config.positionGrid) : undefined; // [T, d] each
  const losses: Record<string, tf.Scalar> = {};
  const routing: Routing[] = [];
  const hidden: tf.Tensor[] = [];
  for (let layer = 0; layer < config.depth; layer++) {
    const context = {
      config,
      layer,
      condition: conditionOf(layer),
      sample: { t, y, time },
      training,
      replay,
      rotation: layer < from ? tables : tables && behindUnrotated(tables, count), // [c + T, d] each, with class tokens
      precision,
      moe: moe?.(layer),
    };
    if (layer === from) h = tf.concat([classTokens(w, config, y), h], 1); // [B, c + T, D]
    const result = block(w.within(`blocks.${layer}`), h, context);
    h = result.output; // [B, T, D], with class tokens [B, c + T, D]
    hidden.push(layer < from ? h : tf.slice(h, [0, count, 0])); // [B, T, D]
    routing.push(...result.routing);
    for (const [name, loss] of Object.entries(result.losses)) losses[name] = name in losses ? tf.add(losses[name], loss) : loss;
  }
  const final = w.within('finalLayer');
  const [shift, scale] = modulation(final, { condition, precision }, 2); // [B, D] each
  const normal = modulatedNorm(final.within('norm'), config, hidden.at(-1)!, shift, scale); // [B, T, D]
  const patches = affine(final, 'output', normal, options); // [B, T, p p C]
  trace('finalPatches', patches);
  return { output: unpatchify(patches, config.patchSize, outChannels, grid), losses, hidden, routing }; // [B, C, H, W]
}

function checkInput({ inputSize: [height, width], inChannels }: DitConfig, x: tf.Tensor, { recompute, trace }: DitOptions): void {
  if (x.rank !== 4 || x.shape[1] !== inChannels || x.shape[2] !== height || x.shape[3] !== width)
    throw new ShapeError('dit', `x [B, ${inChannels}, ${height}, ${width}]`, x.shape);
  if (recompute && trace) throw new ArgumentError('dit', 'either trace or recompute', 'both');
}

/** Patches as tokens, with their positions added. */
function embedPatches(w: Scope, config: DitConfig, x: tf.Tensor, options: DitOptions): tf.Tensor {
  const { grid, tokens } = ditSizes(config);
  const table = () => Float32Array.from(positionEmbedding(config.hiddenSize, grid, config.positionGrid));
  const positions = config.positions === 'stored' ? w('positions') : tf.tensor(table(), [tokens, config.hiddenSize]); // [T, D]
  const pixels = patchify(x, config.patchSize); // [B, T, p p C]
  const inner = config.patchBottleneck === undefined ? pixels : linear(pixels, w('patchBottleneck.weight'), undefined, options); // [B, T, b]
  const patches = affine(w, 'patchEmbedding', inner, options); // [B, T, D]
  const h = tf.add(patches, positions); // [B, T, D]
  options.trace?.('patches', patches);
  options.trace?.('tokens', h);
  return h;
}

function embedTime(w: Scope, config: DitConfig, t: tf.Tensor, options: DitOptions): tf.Tensor {
  const sinusoids = timestepEmbedding(t, TIMESTEP_CHANNELS, config.timestepFrequencies); // [B, 256]
  const time = affine(w, 'timestepEmbedding.1', silu(affine(w, 'timestepEmbedding.0', sinusoids, options)), options); // [B, D]
  options.trace?.('timestep', time);
  return time;
}

/** Timestep and label, summed; every use of the condition begins with SiLU, which is applied here. */
function embedCondition(w: Scope, config: DitConfig, time: tf.Tensor, y: tf.Tensor | undefined, options: DitOptions): tf.Tensor {
  const label = embedLabels(w, config, y); // [B, D]
  const sum = label === undefined ? time : tf.add(time, label); // [B, D]
  if (label !== undefined) options.trace?.('label', label);
  options.trace?.('condition', sum);
  return silu(sum); // [B, D]
}

/** The label's embedding as tokens of their own, `[B, c, D]`. */
const classTokens = (w: Scope, config: DitConfig, y: tf.Tensor | undefined): tf.Tensor =>
  tf.add(tf.expandDims(embedLabels(w, config, y)!, 1), w('classTokens')); // [B, 1, D] + [c, D]

/** Embedded labels `[B, D]`; undefined for an unconditional model. */
function embedLabels(w: Scope, { numClasses }: DitConfig, y: tf.Tensor | undefined): tf.Tensor | undefined {
  if (numClasses === 0) return undefined;
  if (y === undefined) throw new ArgumentError('dit: y', `labels, as the model has ${numClasses} classes`, y);
  return embedding(w(LABEL_TABLE), y); // [B, D]
}
