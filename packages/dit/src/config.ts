/** What a diffusion transformer is made of. */
import { ArgumentError } from '@dit-moe/tensor-ops';
import { checkMoe } from './moe/check-moe.js';
import type { MoeConfig } from './moe/moe-config.js';

/** A DiT or DiT-MoE. */
export interface DitConfig {
  /** Height and width of the input in pixels or latents, each divisible by `patchSize`. */
  inputSize: readonly [number, number];
  patchSize: number;
  inChannels: number;
  /**
   * Numbers that a patch is brought to, by a linear layer without bias, before it is brought to the width (default: none): in pixels a patch
   * has more numbers than matter (JiT, Li and He 2025, arXiv 2511.13720, which takes 128 for patches of 16 x 16).
   */
  patchBottleneck?: number;
  /**
   * Tokens of the label before the patches from block `from` on, each the label's embedding plus a learned vector, taken off before the
   * final layer (default: none): attention then reads the class besides the modulation (JiT-B takes 32 from block 4 on). For dense models
   * with classes.
   */
  classTokens?: { count: number; from: number };
  hiddenSize: number;
  /** Number of blocks. */
  depth: number;
  numHeads: number;
  /** Hidden width of a dense block's feed-forward layer as a multiple of the width; the product is rounded. */
  mlpRatio: number;
  /** Classes; 0 for an unconditional model, which ignores labels. */
  numClasses: number;
  /** Predict a second set of channels for the variance. */
  learnSigma: boolean;
  /**
   * The label that stands for no class, for classifier-free guidance: true (default) for a row of its own, number `numClasses`;
   * a number for one of the classes' rows; false if there is none, as in a model trained without label dropout.
   */
  nullLabel?: boolean | number;
  /**
   * Normalisation of queries and keys per head (default false): LayerNorm with scale and bias, as the reference's
   * flash-attention layout has, or, with `norm: 'rms'`, RMSNorm with scale.
   */
  qkNorm?: boolean;
  /** Norm before attention, feed-forward and the final layer (default `layer`, without affine part); `rms` has a scale, as LightningDiT. */
  norm?: 'layer' | 'rms';
  /** Rotary positions of queries and keys over rows and columns, besides the added ones (default false; as LightningDiT). */
  rotary?: boolean;
  /**
   * Dense feed-forward layer: `gelu` (default, DiT), or `swiglu` without biases, or `swiglu-bias` with them, as LightningDiT; the usual
   * `mlpRatio` of both is 8/3.
   */
  mlp?: 'gelu' | 'swiglu' | 'swiglu-bias';
  /** Rows and columns of patches that the positions were trained with (default: those of `inputSize`); others are interpolated. */
  positionGrid?: readonly [number, number];
  /** Positions added to the patches: computed sines and cosines (`sincos`, default), or a table among the weights (`stored`). */
  positions?: 'sincos' | 'stored';
  /** Frequencies of the timestep embedding: of DiT (default), or those of models trained in diffusers, which end at exactly 1/10000. */
  timestepFrequencies?: 'dit' | 'diffusers';
  /**
   * Every block embeds timestep and label by weights of its own, as the DiT that diffusers trains; the final layer goes by the first
   * block's, which routers are told too (default false).
   */
  blockEmbedders?: boolean;
  /** Mixture of experts in some or all blocks; dense layers without it. */
  moe?: MoeConfig;
}

/** Derived sizes of a configuration. */
export interface DitSizes {
  /** Patches per column and row. */
  grid: readonly [number, number];
  tokens: number;
  headSize: number;
  outChannels: number;
  /** Hidden width of dense feed-forward layers, of a routed and of the shared expert. */
  mlpHidden: number;
  expertHidden: number;
  sharedHidden: number;
}

/**
 * Checks a configuration and derives its sizes.
 * @throws ArgumentError naming the field that does not fit
 */
export function ditSizes(config: DitConfig): DitSizes {
  const [height, width] = config.inputSize;
  const { moe } = config;
  const whole = (name: string, value: number, least = 1): void => {
    if (!Number.isInteger(value) || value < least) throw new ArgumentError(`DitConfig.${name}`, `an integer of at least ${least}`, value);
  };
  whole('inputSize[0]', height);
  whole('inputSize[1]', width);
  for (const name of ['patchSize', 'inChannels', 'hiddenSize', 'depth', 'numHeads'] as const) whole(name, config[name]);
  whole('numClasses', config.numClasses, 0);
  if (config.patchBottleneck !== undefined) whole('patchBottleneck', config.patchBottleneck);
  if (config.classTokens !== undefined) checkClassTokens(config, config.classTokens);
  for (const side of config.positionGrid ?? []) whole('positionGrid', side);
  if (height % config.patchSize !== 0 || width % config.patchSize !== 0)
    throw new ArgumentError('DitConfig.inputSize', `sides divisible by patchSize ${config.patchSize}`, `${height} x ${width}`);
  if (config.hiddenSize % config.numHeads !== 0)
    throw new ArgumentError('DitConfig.hiddenSize', `a multiple of numHeads ${config.numHeads}`, config.hiddenSize);
  if (config.hiddenSize % 4 !== 0)
    throw new ArgumentError('DitConfig.hiddenSize', 'a multiple of 4 (2-D sin-cos positions)', config.hiddenSize);
  const headSize = config.hiddenSize / config.numHeads;
  if (config.rotary === true && headSize % 4 !== 0)
    throw new ArgumentError('DitConfig.rotary', 'a head size that is a multiple of 4 (pairs of numbers for rows and columns)', headSize);
  const nullLabel = config.nullLabel ?? true;
  if (typeof nullLabel === 'number' && !(Number.isInteger(nullLabel) && nullLabel >= 0 && nullLabel < config.numClasses))
    throw new ArgumentError('DitConfig.nullLabel', `true, false or a label below numClasses ${config.numClasses}`, nullLabel);
  const grid = [height / config.patchSize, width / config.patchSize] as const;
  const hidden = (name: string, ratio: number, least = 1): number => {
    const width = Math.round(ratio * config.hiddenSize);
    if (!(width >= least)) throw new ArgumentError(`DitConfig.${name}`, 'a positive number', ratio);
    return width;
  };
  if (moe !== undefined) checkMoe(config, moe, nullLabelOf(config) !== undefined);
  return {
    grid,
    tokens: grid[0] * grid[1],
    headSize,
    outChannels: config.learnSigma ? 2 * config.inChannels : config.inChannels,
    mlpHidden: hidden('mlpRatio', config.mlpRatio),
    expertHidden: moe === undefined ? 0 : hidden('moe.expertRatio', moe.expertRatio),
    sharedHidden: moe === undefined ? 0 : hidden('moe.sharedRatio', moe.sharedRatio, 0),
  };
}

function checkClassTokens({ numClasses, depth, moe }: DitConfig, { count, from }: NonNullable<DitConfig['classTokens']>): void {
  const refuse = (field: string, expected: string, found: unknown): never => {
    throw new ArgumentError(`DitConfig.classTokens${field}`, expected, found);
  };
  if (!Number.isInteger(count) || count < 1) refuse('.count', 'an integer of at least 1', count);
  if (!Number.isInteger(from) || from < 0 || from >= depth) refuse('.from', `the number of a block below ${depth}`, from);
  if (numClasses === 0) refuse('', 'a model with classes', 'an unconditional one');
  if (moe !== undefined) refuse('', 'a dense model: what routers do is counted by patches', 'one with experts');
}

/** The label that stands for no class; undefined if the model has none. */
export function nullLabelOf({ numClasses, nullLabel = true }: Pick<DitConfig, 'numClasses' | 'nullLabel'>): number | undefined {
  if (numClasses === 0 || nullLabel === false) return undefined;
  return nullLabel === true ? numClasses : nullLabel;
}

/**
 * The model for inputs of another size: its positions are interpolated from those that it was trained with.
 * @param inputSize height and width in pixels or latents, multiples of the patch size
 * @throws ArgumentError for a model whose positions are a table among its weights
 */
export function withInputSize(config: DitConfig, inputSize: readonly [number, number]): DitConfig {
  if (config.positions === 'stored')
    throw new ArgumentError('size', 'that of the training, as the positions are a stored table', inputSize.join('x'));
  const {
    inputSize: [height, width],
    patchSize,
    positionGrid = [height / patchSize, width / patchSize],
  } = config;
  return { ...config, inputSize, positionGrid };
}
