/** How the cores of a processor are shared out. */
import os from 'node:os';
import type { TensorFlowOptions } from '@dit-moe/tensor-ops/node';
import type { DitConfig } from '../config.js';

/**
 * Width below which the ops of a model are so short that to split each among the cores costs more than it gains, while the experts keep the
 * cores busy with whole ops. Measured on two cores: a training step of 2,048 tokens takes 47 instead of 62 ms at width 64 and 237 instead of
 * 291 ms at 192; from 256 on there was no gain, and DiT-MoE-S/2 (width 384, 12 blocks) loses 15 %.
 */
const SPLIT_FROM_WIDTH = 256;

/**
 * Threads for `startBackend` of `@dit-moe/tensor-ops/node` that suit a model: one for each op and as many ops at once as there are cores if it
 * is narrower than 256, else `undefined`, those that the runtime takes by itself. Measured, see docs/measurements/engine.md.
 *
 * @param config `hiddenSize` is the width in channels
 */
export function threadsFor(
  config: Pick<DitConfig, 'hiddenSize'>,
): Required<Pick<TensorFlowOptions, 'threads' | 'interOpThreads'>> | undefined {
  return config.hiddenSize < SPLIT_FROM_WIDTH ? { threads: 1, interOpThreads: os.availableParallelism() } : undefined;
}
