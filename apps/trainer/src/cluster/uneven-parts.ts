/** What cannot be shared out among processes. */

import type { DitConfig } from '@dit-moe/dit';
import { UsageError } from '@dit-moe/kit';
import type { TrainConfig } from '../config/schema.js';

/**
 * Every rank takes an equal part of every micro-batch, and every group of ranks all experts.
 * @param size number of processes
 * @throws UsageError
 */
export function refuseUnevenParts({ batchSize, accumulation, parallel }: TrainConfig, size: number): void {
  if (batchSize % (accumulation * size) !== 0)
    throw new UsageError(
      `batchSize ${batchSize} cannot be shared by ${size} processes${accumulation > 1 ? ` in ${accumulation} micro-batches` : ''}: choose a multiple of ${accumulation * size}.`,
    );
  const { experts } = parallel;
  if (size > 1 && size % experts !== 0)
    throw new UsageError(`parallel.experts ${experts} must divide the number of processes, which is ${size}.`);
}

/**
 * Experts are shared out in equal parts.
 * @param size number of processes
 * @throws UsageError
 */
export function refuseUnevenExperts({ moe }: DitConfig, { experts }: TrainConfig['parallel'], size: number): void {
  if (size === 1 || experts === 1) return;
  if (moe === undefined) throw new UsageError(`parallel.experts ${experts}: the model has no experts.`);
  if (moe.numExperts % experts !== 0)
    throw new UsageError(`parallel.experts ${experts} must divide the experts of a layer, which are ${moe.numExperts}.`);
  if (typeof moe.experts === 'object' || moe.layerExperts !== undefined)
    throw new UsageError(
      `parallel.experts ${experts}: experts of different kinds cannot be shared out; give every process all of them (1).`,
    );
}
