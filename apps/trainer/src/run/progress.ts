/** The progress of a training. */
import { createProgress } from '@dit-moe/kit';

interface ProgressState {
  step: number;
  steps: number;
  loss: number;
  imagesPerSecond: number;
  /** Share of the device's peak, where that is known. */
  mfu?: number;
}

export interface Progress {
  /** Work other than steps, whose length nobody knows. */
  phase(text: string): void;
  update(state: ProgressState): void;
  /** Prints a message without tearing the progress line. */
  log(message: string): void;
  /** Ends the progress line. */
  done(): void;
}

/** Progress on stderr, with other work than steps as phases. */
export function trainingProgress(): Progress {
  const progress = createProgress();
  return {
    ...progress,
    update: ({ step, steps, loss, imagesPerSecond, mfu }) =>
      progress.update({
        ...{ what: 'step', done: step, total: steps },
        details: [
          `loss ${loss.toFixed(4)}`,
          `${imagesPerSecond.toFixed(0)} images/s`,
          ...(mfu === undefined ? [] : [`MFU ${(100 * mfu).toFixed(0)} %`]),
        ],
      }),
  };
}
