/** What a diffusion transformer is made of. */
import { ArgumentError } from '@dit-moe/tensor-ops';

/** The mixture of experts of a block. */
export interface MoeConfig {
  /** Routed experts. */
  numExperts: number;
  /** Experts per token. */
  topK: number;
  /** Hidden width of a routed expert as a multiple of the model width (4 in DiT-MoE). */
  expertRatio: number;
  /** Hidden width of the shared expert as a multiple of the model width (2 in DiT-MoE); 0 for none. */
  sharedRatio: number;
  /** Weight of the balance loss (0.01 in the reference code, 0.005 in the paper). */
  balanceAlpha: number;
  /** Balance over the tokens of the batch (default, as the published models), or within each image. */
  balanceOver?: 'batch' | 'image';
}

/** A DiT or DiT-MoE. */
export interface DitConfig {
  /** Height and width of the input in pixels or latents, each divisible by `patchSize`. */
  inputSize: readonly [number, number];
  patchSize: number;
  inChannels: number;
  hiddenSize: number;
  /** Number of blocks. */
  depth: number;
  numHeads: number;
  /** Hidden width of a dense block's feed-forward layer as a multiple of the width. */
  mlpRatio: number;
  /** Classes; the null label for classifier-free guidance is `numClasses`. */
  numClasses: number;
  /** Predict a second set of channels for the variance. */
  learnSigma: boolean;
  /** Whether the label table has a row for the null label (default true); a model trained without label dropout has none. */
  nullLabel?: boolean;
  /** LayerNorm of queries and keys per head, with scale and bias, as the reference's flash-attention layout has (default false). */
  qkNorm?: boolean;
  /** Mixture of experts in every block; dense GELU layers without it. */
  moe?: MoeConfig;
}

/** Derived sizes of a configuration. */
export interface DitSizes {
  /** Patches per column and row. */
  grid: readonly [number, number];
  tokens: number;
  headSize: number;
  outChannels: number;
}

/**
 * Checks a configuration and derives its sizes.
 * @throws ArgumentError naming the field that does not fit
 */
export function ditSizes(config: DitConfig): DitSizes {
  const [height, width] = config.inputSize;
  for (const [name, value] of Object.entries({
    'inputSize[0]': height,
    'inputSize[1]': width,
    patchSize: config.patchSize,
    inChannels: config.inChannels,
    hiddenSize: config.hiddenSize,
    depth: config.depth,
    numHeads: config.numHeads,
    numClasses: config.numClasses,
  })) {
    if (!Number.isInteger(value) || value < 1) throw new ArgumentError(`DitConfig.${name}`, 'a positive integer', value);
  }
  if (height % config.patchSize !== 0 || width % config.patchSize !== 0)
    throw new ArgumentError('DitConfig.inputSize', `sides divisible by patchSize ${config.patchSize}`, `${height} x ${width}`);
  if (config.hiddenSize % config.numHeads !== 0)
    throw new ArgumentError('DitConfig.hiddenSize', `a multiple of numHeads ${config.numHeads}`, config.hiddenSize);
  if (config.hiddenSize % 4 !== 0)
    throw new ArgumentError('DitConfig.hiddenSize', 'a multiple of 4 (2-D sin-cos positions)', config.hiddenSize);
  const grid = [height / config.patchSize, width / config.patchSize] as const;
  return {
    grid,
    tokens: grid[0] * grid[1],
    headSize: config.hiddenSize / config.numHeads,
    outChannels: config.learnSigma ? 2 * config.inChannels : config.inChannels,
  };
}
