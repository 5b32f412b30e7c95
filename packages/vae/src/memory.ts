/** How much memory encoding and decoding take, so that batches can be chosen to fit. */
import { ArgumentError } from '@dit-moe/tensor-ops';
import { type AutoencoderConfig, downscale } from './config.js';

/** What is to be encoded or decoded at once. */
export interface Workload {
  part: 'encode' | 'decode';
  /** Of the pictures, in pixels. */
  height: number;
  width: number;
}

/**
 * Feature maps alive at once, in units of the larger one of a residual block or of a doubling of the size: what a block keeps for its
 * sum, the sums of rows of a convolution and what becomes of them. Measured up to 6.9 (docs/measurements/autoencoder.md); the rest is a margin.
 */
const MAPS_ALIVE = 7;

/** Bytes of activations that one picture needs at the widest point of a pass: an estimate from the configuration, not a bound. */
export function activationBytes(config: AutoencoderConfig, { part, height, width }: Workload): number {
  const levels = config.blockOutChannels;
  const sizes = levels.map((channels, level) => {
    // The decoder's first block of a level still has the channels of the coarser one.
    const widest = part === 'decode' ? Math.max(channels, levels[level + 1] ?? channels) : channels;
    return (widest * height * width) / 4 ** level;
  });
  return 4 * MAPS_ALIVE * Math.max(...sizes);
}

/**
 * The most pictures whose activations fit into a memory budget, at least one.
 *
 * @param memoryBudget bytes for activations; the weights (335 MB for Stable Diffusion's) come on top
 * @throws ArgumentError if the size of the pictures does not fit the autoencoder or the budget is not positive
 */
export function batchSizeFor(config: AutoencoderConfig, workload: Workload & { memoryBudget: number }): number {
  const { height, width, memoryBudget } = workload;
  const step = downscale(config);
  if (!(height > 0 && width > 0) || height % step !== 0 || width % step !== 0)
    throw new ArgumentError('batchSizeFor: height and width', `multiples of ${step}`, `${height} x ${width}`);
  if (!(memoryBudget > 0)) throw new ArgumentError('batchSizeFor: memoryBudget', 'a positive number of bytes', memoryBudget);
  return Math.max(1, Math.floor(memoryBudget / activationBytes(config, workload)));
}
