/** A sampling under way: iterate it to watch every solver step, await it for the pictures. */
import type { Pixels } from '@dit-moe/data';
import type * as tf from '@tensorflow/tfjs-core';

/** After one solver step of one batch. */
export interface SampleProgress {
  /** Images of the batch that is being made: from number `from` to before `to` of `images`. */
  from: number;
  to: number;
  images: number;
  /** Solver steps done in this batch, from 1. */
  step: number;
  /** Steps in all; a solver that chooses its steps counts one more than it has done until it is at the end. */
  steps: number;
  /** Time reached, as the model is told it. */
  time: number;
  /** The samples now, `[B, C, h, w]` in the model's space; they live until the next step. */
  x: tf.Tensor;
  /** The clean samples as predicted in this step. */
  clean: tf.Tensor;
  /** A quick picture of the clean samples as predicted now. */
  preview(): Promise<Pixels>;
}

/** Yields a state per solver step, and is a promise of the pictures. Who leaves the loop early ends the sampling. */
export class Sampling implements AsyncIterableIterator<SampleProgress, Pixels, void>, PromiseLike<Pixels> {
  private readonly pictures: Promise<Pixels>;
  private resolve!: (pictures: Pixels) => void;
  private reject!: (error: unknown) => void;
  private draining = false;

  constructor(private readonly run: AsyncGenerator<SampleProgress, Pixels, void>) {
    this.pictures = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    // Who only iterates hears of a failure there.
    this.pictures.catch(() => {});
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<SampleProgress, Pixels>> {
    try {
      const result = await this.run.next();
      if (result.done) this.resolve(result.value);
      return result;
    } catch (error) {
      this.reject(error);
      throw error;
    }
  }

  async return(): Promise<IteratorResult<SampleProgress, Pixels>> {
    this.reject(new DOMException('The sampling was left before its end.', 'AbortError'));
    return this.run.return(undefined as never);
  }

  // biome-ignore lint/suspicious/noThenProperty: it is a promise of the pictures, so that `await pipeline.sample(...)` is enough
  then<A = Pixels, B = never>(
    fulfilled?: ((pictures: Pixels) => A | PromiseLike<A>) | null,
    rejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    if (!this.draining) {
      this.draining = true;
      void this.drain();
    }
    return this.pictures.then(fulfilled, rejected);
  }

  private async drain(): Promise<void> {
    try {
      while (!(await this.next()).done);
    } catch {
      // Told through the pictures.
    }
  }
}
