/** How the cores of a processor are shared out. */
import os from 'node:os';
import type { InferencePrecision } from '@dit-moe/tensor-ops';
import type { TensorFlowOptions } from '@dit-moe/tensor-ops/node';
import type { DitConfig } from '../config.js';

/** More cores than this may be more than a wide model has ops to do at once; nothing was measured beyond two. */
const FEW_CORES = 4;
/** Width below which ops are so short that to split each among the cores costs more than it gains, however many cores there are. */
const SPLIT_FROM_WIDTH = 256;

/** What a model is started for. */
export interface ThreadUse {
  /** Whether it is trained, by steps of at least as many samples as there are cores (default false). */
  training?: boolean;
  /** Default `f32`. */
  precision?: InferencePrecision | undefined;
  /** That this process has to itself (default all of the machine). */
  cores?: number;
}

/**
 * Threads for `startBackend` of `@dit-moe/tensor-ops/node` that suit a model: one for each op and as many ops at once as there are cores, or
 * `undefined`, those that the runtime takes by itself. Measured, see docs/measurements/engine.md.
 *
 * Whole ops keep the cores busy where there are experts and samples side by side, and nobody waits for the other part of an op. So it is for
 * models narrower than 256, and on up to four cores for training and for int8, whose products use one thread in any case. Wider models
 * otherwise sample as fast with ops that are split, and an autoencoder decodes faster so.
 *
 * @param config `hiddenSize` is the width in channels
 */
export function threadsFor(
  config: Pick<DitConfig, 'hiddenSize'>,
  { training = false, precision = 'f32', cores = os.availableParallelism() }: ThreadUse = {},
): Required<Pick<TensorFlowOptions, 'threads' | 'interOpThreads'>> | undefined {
  const whole = config.hiddenSize < SPLIT_FROM_WIDTH || ((training || precision === 'int8') && cores <= FEW_CORES);
  return whole ? { threads: 1, interOpThreads: cores } : undefined;
}
