import os from 'node:os';
import { preset } from '@dit-moe/dit';
import { threadsFor } from '@dit-moe/dit/node';
import type { Launch, TensorFlowOptions } from '@dit-moe/tensor-ops/node';
import type { TrainConfig } from '../config/schema.js';

type Threads = Pick<TensorFlowOptions, 'threads' | 'interOpThreads'>;

const coresOf = (localSize: number): number => Math.max(1, Math.floor(os.availableParallelism() / localSize));

/** Threads of one of the processes that share a machine: their part of its cores; alone, those that the runtime takes by itself. */
export const shareOfThreads = ({ localSize = 1 }: Pick<Launch, 'localSize'>): Threads =>
  localSize === 1 ? {} : { threads: coresOf(localSize) };

/**
 * Threads for a run, or for one rank of it: those that suit its model and the samples that a step has here.
 * @param launch of the ranks (default: one process)
 */
export function threadsOf(
  { model, batchSize, accumulation }: TrainConfig,
  { size, localSize = 1 }: Pick<Launch, 'size' | 'localSize'> = { size: 1 },
): Threads {
  const hiddenSize = model.hiddenSize ?? (model.preset === undefined ? undefined : preset(model.preset).hiddenSize);
  const cores = coresOf(localSize);
  const whole =
    hiddenSize === undefined ? undefined : threadsFor({ hiddenSize }, { training: batchSize / accumulation / size >= cores, cores });
  return whole ?? shareOfThreads({ localSize });
}
