/** Prepares what a loop needs next while it is busy, and measures how long the loop still had to wait. */

/** A queue of promises that stays `depth` items ahead of its reader. */
export class Prefetch<T> {
  private readonly queue: Promise<T>[] = [];
  private next: number;
  private waitedMs = 0;

  /**
   * @param make makes item number `i`; calls do not overlap
   * @param first number of the first item
   * @param end number after the last item
   */
  constructor(
    private readonly make: (i: number) => Promise<T>,
    private readonly depth: number,
    first: number,
    private readonly end: number,
  ) {
    this.next = first;
  }

  /** The next item. */
  async take(): Promise<T> {
    if (this.queue.length === 0) this.start();
    const start = performance.now();
    const item = await this.queue.shift()!;
    this.waitedMs += performance.now() - start;
    while (this.queue.length < this.depth && this.next < this.end) this.start();
    return item;
  }

  /** Milliseconds that the reader has waited since the last call. */
  takeWaited(): number {
    const waited = this.waitedMs;
    this.waitedMs = 0;
    return waited;
  }

  /** Waits for what is under way and drops it. */
  async stop(): Promise<void> {
    this.next = this.end;
    await Promise.allSettled(this.queue.splice(0));
  }

  private start(): void {
    const i = this.next++;
    const before = this.queue.at(-1) ?? Promise.resolve();
    // After a turn of the event loop: the reader's native call gets going first, and making runs beside it.
    const item = before.then(() => new Promise<T>((resolve, reject) => setImmediate(() => this.make(i).then(resolve, reject))));
    // The reader gets the error when it takes the item.
    item.catch(() => {});
    this.queue.push(item);
  }
}
