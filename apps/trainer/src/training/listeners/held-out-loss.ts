/** The loss of the average on held-out images, every so often. */
import type { Run } from '../run.js';
import type { Validation } from '../validation.js';
import type { Listener } from './listener.js';

export function heldOutLoss(run: Run, every: number, validation: Validation): Listener {
  return {
    name: 'held-out loss',
    every,
    fatal: true,
    async run(moment) {
      const { step } = run.record;
      run.progress.phase(`held-out loss of step ${step}`);
      moment.validation = await validation.measure(run.signal);
      run.progress.log(`step ${step}: held-out loss ${moment.validation.loss.toFixed(4)}`);
    },
  };
}
