/**
 * Puts what the routers of all ranks counted together on rank 0, before it is written, and lets the others wait for what rank 0 does at
 * this step. Alone it has nothing to do.
 */
import type { Run } from '../run.js';
import type { Listener } from './listener.js';

export function gatheredCounters({ config, state }: Run): Listener {
  const { logEvery, evaluation, validation, checkpoints, sampling } = config;
  return {
    name: 'counters of the routers',
    every: [logEvery, checkpoints.every, sampling.every, ...[evaluation, validation].flatMap((set) => set?.every ?? [])],
    fatal: true,
    run: () => state.gatherCounters(),
  };
}
