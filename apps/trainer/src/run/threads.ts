import os from 'node:os';
import { preset } from '@dit-moe/dit';
import { threadsFor } from '@dit-moe/dit/node';
import type { TrainConfig } from '../config/schema.js';

/** Threads for a run: those that suit its model and its batches, `undefined` where the runtime's own choice does. */
export function threadsOf({ model, batchSize, accumulation }: TrainConfig): ReturnType<typeof threadsFor> {
  const hiddenSize = model.hiddenSize ?? (model.preset === undefined ? undefined : preset(model.preset).hiddenSize);
  return hiddenSize === undefined
    ? undefined
    : threadsFor({ hiddenSize }, { training: batchSize / accumulation >= os.availableParallelism() });
}
