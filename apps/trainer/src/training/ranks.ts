/** What a run does together with the other processes of a cluster. Alone it leads, and waits for nobody. */

import { createHash } from 'node:crypto';
import { DataError, OutputError } from '@dit-moe/kit';
import { type Cluster, PeerError } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';

/** Rank 0 may evaluate or write for hours while the others wait; whether it lives is seen by its signs of life. */
const PATIENCE_MS = 24 * 3600 * 1000;

export class Ranks {
  private barriers = 0;

  constructor(readonly cluster: Cluster | undefined) {}

  /** Whether this process writes files and lines: rank 0. */
  get leads(): boolean {
    return this.cluster === undefined || this.cluster.rank === 0;
  }

  /** Waits until all ranks are here. Every rank calls it at the same places of the program. */
  async barrier(): Promise<void> {
    await this.cluster?.barrier(`trainer-${this.barriers++}`, PATIENCE_MS);
  }

  /** The leader does it first, then all others. */
  async leaderFirst<T>(action: () => Promise<T>): Promise<T> {
    if (this.leads) {
      const result = await action();
      await this.barrier();
      return result;
    }
    await this.barrier();
    return action();
  }

  /** Whether it is so on some rank; all ask at the same place of the program. */
  async any(flag: boolean): Promise<boolean> {
    const { cluster } = this;
    if (cluster === undefined) return flag;
    const own = tf.scalar(flag ? 1 : 0);
    const most = await cluster.guard('a decision', async () => cluster.collectives.allReduce(own, 'max'));
    const [value] = await most.data();
    tf.dispose([own, most]);
    return value > 0;
  }

  /**
   * Every rank's part of a work that they do together. Where it fails on one it has failed on all, so that they go on alike.
   * @returns what every rank made, in their order: it travels as JSON
   * @throws the error of this rank, or one that names the rank which failed; PeerError as `Cluster.guard`
   */
  async together<T>(work: () => Promise<T>): Promise<T[]> {
    let own: { made: T } | { failed: string };
    let cause: unknown;
    try {
      own = { made: await work() };
    } catch (error) {
      if (PeerError.isInstance(error)) throw error;
      cause = error;
      own = { failed: (error as Error).message };
    }
    // Some take longer than the others wait for a collective.
    await this.barrier();
    const all = (await this.texts(JSON.stringify(own))).map((text) => JSON.parse(text) as typeof own);
    if (cause !== undefined) throw cause;
    return all.map((result, rank) => {
      if ('failed' in result) throw new OutputError(`Rank ${rank}: ${result.failed}`);
      return result.made;
    });
  }

  /** Every rank's text, in their order; all give theirs at the same place of the program. */
  private async texts(text: string): Promise<string[]> {
    const { cluster } = this;
    if (cluster === undefined) return [text];
    const { collectives, size } = cluster;
    const bytes = new TextEncoder().encode(text);
    const [length, all] = await cluster.guard('exchanging texts', async () => {
      const own = tf.scalar(bytes.length);
      const most = collectives.allReduce(own, 'max');
      const [length] = await most.data();
      const padded = tf.tensor1d(Float32Array.from({ length }, (_, i) => bytes[i] ?? 0x20));
      const gathered = collectives.allGather(padded);
      const all = Uint8Array.from(await gathered.data());
      tf.dispose([own, most, padded, gathered]);
      return [length, all];
    });
    return Array.from({ length: size }, (_, rank) => new TextDecoder().decode(all.subarray(rank * length, (rank + 1) * length)));
  }

  /**
   * Makes sure that a text is the same on every rank.
   * @throws DataError if it is not
   */
  async agree(what: string, text: string): Promise<void> {
    const { cluster } = this;
    if (cluster === undefined) return;
    const hash = createHash('sha256').update(text).digest();
    const numbers = tf.tensor1d([...hash]);
    const [most, least] = await cluster.guard(`comparing ${what}`, async () => {
      const extremes = tf.tidy(() => (['max', 'min'] as const).map((kind) => cluster.collectives.allReduce(numbers, kind)));
      const values = await Promise.all(extremes.map((x) => x.data()));
      tf.dispose(extremes);
      return values;
    });
    numbers.dispose();
    if (most.some((value, i) => value !== least[i]))
      throw new DataError(`${what} is not the same on all ${cluster.size} ranks: every machine must see the same files.`);
  }
}
