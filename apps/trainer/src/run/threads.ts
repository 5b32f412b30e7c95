/** How the cores of a processor are shared out. */
import os from 'node:os';
import { preset } from '@dit-moe/dit';
import type { TensorFlowOptions } from '@dit-moe/tensor-ops/node';
import type { TrainConfig } from '../config/schema.js';

/**
 * Width below which the ops of a step are so short that to split each among the cores costs more than it gains, while the experts keep the
 * cores busy with whole ops. Measured on two cores with 2,048 tokens: 47 instead of 62 ms per step of width 64, 237 instead of 291 of 192;
 * from 256 on there was no gain, and DiT-MoE-S/2 (width 384, 12 blocks) loses 15 %.
 */
const SPLIT_FROM_WIDTH = 256;

/** Threads for a run: one for each op of a small model, else those that the runtime takes by itself. */
export function threadsFor({ model }: TrainConfig): Pick<TensorFlowOptions, 'threads' | 'interOpThreads'> | undefined {
  const width = model.hiddenSize ?? (model.preset === undefined ? undefined : preset(model.preset).hiddenSize);
  return width !== undefined && width < SPLIT_FROM_WIDTH ? { threads: 1, interOpThreads: os.availableParallelism() } : undefined;
}
