/** One inference at a time, a bounded number that wait, and as many that only take time that nobody else wants. */
import { DitMoeError } from '@dit-moe/tensor-ops';

/** As many wait as may. */
export class QueueFullError extends DitMoeError {
  static override readonly code = 'E_QUEUE_FULL';
  constructor(limit: number) {
    super(`${limit} requests are waiting already; try again later.`);
  }
}

/** An idle task ended because somebody came. */
export class GaveWayError extends DitMoeError {
  static override readonly code = 'E_GAVE_WAY';
  constructor() {
    super('Somebody else came first.');
  }
}

interface Waiting {
  start(): void;
  /** Called with the place in the queue whenever it changes, 1 for the next one. */
  onPosition(position: number): void;
}

export class InferenceQueue {
  private readonly waiting: Waiting[] = [];
  /** Those that go after everybody else. */
  private readonly idle: Waiting[] = [];
  private busy = false;
  /** Ends the idle task that runs, if one does. */
  private giveWay: AbortController | undefined;

  /** @param limit how many may wait beside the one that runs; of idle ones, as many again */
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
    this.giveWay?.abort(new GaveWayError());
    if (this.busy) await this.turn(this.waiting, signal, onPosition);
    else this.take();
    return this.alone(task);
  }

  /**
   * Runs `task` when nobody else wants a turn.
   * @param task is to end when its signal does: somebody came, or `signal` ended
   * @throws QueueFullError at once
   */
  async runIdle<T>(
    task: (signal: AbortSignal) => Promise<T>,
    signal: AbortSignal,
    onPosition: (position: number) => void = () => {},
  ): Promise<T> {
    signal.throwIfAborted();
    const giveWay = new AbortController();
    if (this.busy) await this.turn(this.idle, signal, onPosition, giveWay);
    else this.take(giveWay);
    return this.alone(async () => {
      // Somebody may have come since its turn did.
      giveWay.signal.throwIfAborted();
      return task(AbortSignal.any([signal, giveWay.signal]));
    });
  }

  /** Waits in `line` for a turn, which is taken as soon as it comes, so that nobody slips in. */
  private async turn(
    line: Waiting[],
    signal: AbortSignal,
    onPosition: (position: number) => void,
    giveWay?: AbortController,
  ): Promise<void> {
    if (line.length >= this.limit) throw new QueueFullError(this.limit);
    return new Promise((resolve, reject) => {
      const leave = () => {
        line.splice(line.indexOf(entry), 1);
        this.tellPositions();
        reject(signal.reason as Error);
      };
      const entry: Waiting = {
        start: () => {
          signal.removeEventListener('abort', leave);
          this.take(giveWay);
          resolve();
        },
        onPosition,
      };
      signal.addEventListener('abort', leave, { once: true });
      line.push(entry);
      onPosition([...this.waiting, ...this.idle].indexOf(entry) + 1);
      if (line === this.waiting) for (const [i, { onPosition }] of this.idle.entries()) onPosition(line.length + i + 1);
    });
  }

  private take(giveWay?: AbortController): void {
    this.busy = true;
    this.giveWay = giveWay;
  }

  private async alone<T>(task: () => Promise<T>): Promise<T> {
    try {
      return await task();
    } finally {
      this.busy = false;
      this.giveWay = undefined;
      (this.waiting.shift() ?? this.idle.shift())?.start();
      this.tellPositions();
    }
  }

  private tellPositions(): void {
    for (const [i, { onPosition }] of [...this.waiting, ...this.idle].entries()) onPosition(i + 1);
  }
}
