/**
 * Puts the average together on rank 0 before it makes pictures and measures it, where it is shared out, and frees it after them.
 * Otherwise there is nothing to do.
 */
import type { Run } from '../run.js';
import type { Listener } from './listener.js';

const every = ({ config: { sampling, evaluation, validation } }: Run): number[] =>
  [sampling, evaluation, validation].flatMap((made) => made?.every ?? []);

export function gatheredAverage(run: Run): Listener {
  return { name: 'average', every: every(run), fatal: true, run: () => run.state.gatherAverage() };
}

export function releasedAverage(run: Run): Listener {
  return { name: 'average', every: every(run), fatal: true, run: async () => run.state.releaseAverage() };
}
