/** Samples of the average against real images, every so often. */
import type { Evaluator } from '../evaluation.js';
import type { Run } from '../run.js';
import type { Listener } from './listener.js';

export function onlineMetrics(run: Run, every: number, evaluator: Evaluator): Listener {
  return {
    name: 'online metrics',
    every,
    fatal: true,
    async run({ evaluation }) {
      const { step } = run.record;
      run.progress.phase(`online metrics of step ${step}`);
      const { scalars, summary } = await evaluator.evaluate(step, run.signal);
      Object.assign(evaluation, scalars);
      run.progress.log(`step ${step}: ${summary}`);
    },
  };
}
