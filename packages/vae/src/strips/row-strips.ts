/** A feature map as strips of rows, so that it need not exist in one piece. */
import * as tf from '@tensorflow/tfjs-core';

/** Strips `[B, rows, W, C]` from the top down, which belong to it; those that were released are gone. */
export class RowStrips {
  private readonly strips: (tf.Tensor | undefined)[] = [];
  /** Row at which each strip begins, and the end. */
  private readonly starts = [0];

  constructor(
    readonly batch: number,
    readonly width: number,
    readonly channels: number,
  ) {}

  /** Rows added so far. */
  get height(): number {
    return this.starts.at(-1)!;
  }

  /** Puts a strip below the others. */
  add(strip: tf.Tensor): void {
    this.strips.push(strip);
    this.starts.push(this.height + strip.shape[1]!);
  }

  /** The strips that are left. */
  *[Symbol.iterator](): Generator<tf.Tensor> {
    for (const strip of this.strips) if (strip !== undefined) yield strip;
  }

  /** A copy of rows `[from, to)`. */
  rows(from: number, to: number): tf.Tensor {
    const found: tf.Tensor[] = [];
    for (const [i, strip] of this.strips.entries()) {
      const [start, end] = [this.starts[i], this.starts[i + 1]];
      const [first, last] = [Math.max(from, start), Math.min(to, end)];
      if (first < last) found.push(tf.slice(strip!, [0, first - start, 0, 0], [-1, last - first, -1, -1]));
    }
    return found.length === 1 ? found[0] : tf.concat(found, 1);
  }

  /** The whole map in one piece; the strips are freed. */
  joined(): tf.Tensor {
    const whole = tf.concat([...this], 1);
    this.release();
    return whole;
  }

  /** Frees the strips that end at or before row `end` (default: all). */
  release(end = this.height): void {
    for (const [i, strip] of this.strips.entries()) {
      if (strip === undefined || this.starts[i + 1] > end) continue;
      strip.dispose();
      this.strips[i] = undefined;
    }
  }
}
