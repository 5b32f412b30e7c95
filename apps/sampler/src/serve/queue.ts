/** One inference at a time, and a bounded number that wait. */
import { DitMoeError } from '@dit-moe/tensor-ops';

/** As many wait as may. */
export class QueueFullError extends DitMoeError {
  static override readonly code = 'E_QUEUE_FULL';
  constructor(limit: number) {
    super(`${limit} requests are waiting already; try again later.`);
  }
}

interface Waiting {
  start(): void;
  /** Called with the place in the queue whenever it changes, 1 for the next one. */
  onPosition(position: number): void;
}

export class InferenceQueue {
  private readonly waiting: Waiting[] = [];
  private busy = false;

  /** @param limit how many may wait beside the one that runs */
  constructor(readonly limit: number) {}

  get length(): number {
    return this.waiting.length;
  }

  /**
   * Runs `task` when its turn comes.
   * @param signal leaves the queue; a running task has to watch it itself
   * @throws QueueFullError at once
   */
  async run<T>(task: () => Promise<T>, signal: AbortSignal, onPosition: (position: number) => void = () => {}): Promise<T> {
    signal.throwIfAborted();
    if (this.busy) {
      if (this.waiting.length >= this.limit) throw new QueueFullError(this.limit);
      await this.turn(signal, onPosition);
    }
    this.busy = true;
    try {
      return await task();
    } finally {
      this.busy = false;
      this.waiting.shift()?.start();
      this.tellPositions();
    }
  }

  private turn(signal: AbortSignal, onPosition: (position: number) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.waiting.splice(this.waiting.indexOf(entry), 1);
        this.tellPositions();
        reject(signal.reason as Error);
      };
      const entry: Waiting = {
        start: () => {
          signal.removeEventListener('abort', leave);
          // Taken at once, so that nobody slips in before the promise's continuation runs.
          this.busy = true;
          resolve();
        },
        onPosition,
      };
      signal.addEventListener('abort', leave, { once: true });
      onPosition(this.waiting.push(entry));
    });
  }

  private tellPositions(): void {
    for (const [i, { onPosition }] of this.waiting.entries()) onPosition(i + 1);
  }
}
