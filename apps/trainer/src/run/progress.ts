/** One line about a running training: rewritten in place on a terminal, printed now and then elsewhere. */
import pc from 'picocolors';

export interface ProgressState {
  step: number;
  steps: number;
  loss: number;
  imagesPerSecond: number;
}

export interface Progress {
  update(state: ProgressState): void;
  /** Prints a message without tearing the progress line. */
  log(message: string): void;
  /** Ends the progress line. */
  done(): void;
}

/** Seconds between two lines where the output is not a terminal. */
const PLAIN_INTERVAL_S = 10;

/** Formats seconds as `1:02:03` or `2:03`. */
export function formatDuration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  const pad = (n: number) => String(n).padStart(2, '0');
  return s >= 3600 ? `${Math.floor(s / 3600)}:${pad(Math.floor(s / 60) % 60)}:${pad(s % 60)}` : `${Math.floor(s / 60)}:${pad(s % 60)}`;
}

/** The text of a progress line. The time left is an estimate from the rate so far, and left out as long as that is 0. */
export function progressLine(state: ProgressState, stepsPerSecond: number): string {
  const { step, steps, loss, imagesPerSecond } = state;
  const left = stepsPerSecond > 0 ? `  ${formatDuration((steps - step) / stepsPerSecond)} left` : '';
  return `step ${step}/${steps}  loss ${loss.toFixed(4)}  ${imagesPerSecond.toFixed(0)} images/s${left}`;
}

/** Writes progress to `stream`, normally stderr so that stdout stays clean for results. */
export function createProgress(stream: NodeJS.WriteStream, now: () => number = () => performance.now() / 1000): Progress {
  let startedAt: number | undefined;
  let firstStep = 0;
  let printedAt = Number.NEGATIVE_INFINITY;
  let open = false;
  const clear = () => {
    if (open) stream.write('\r\x1b[K');
    open = false;
  };
  return {
    update(state) {
      const time = now();
      if (startedAt === undefined) {
        startedAt = time;
        firstStep = state.step;
      }
      const line = progressLine(state, time > startedAt ? (state.step - firstStep) / (time - startedAt) : 0);
      if (stream.isTTY) {
        clear();
        stream.write(pc.cyan(line));
        open = true;
      } else if (time - printedAt >= PLAIN_INTERVAL_S || state.step === state.steps) {
        printedAt = time;
        stream.write(`${line}\n`);
      }
    },
    log(message) {
      clear();
      stream.write(`${message}\n`);
    },
    done() {
      if (open) stream.write('\n');
      open = false;
    },
  };
}
