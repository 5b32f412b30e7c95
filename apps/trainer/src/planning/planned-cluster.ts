/** A cluster that nothing but recordings is made of: counts what one of its processes would send. */
import { type Collectives, customGradient, type Reduction } from '@dit-moe/tensor-ops';
import { Cluster } from '@dit-moe/tensor-ops/node';
import type * as tf from '@tensorflow/tfjs-core';

/** Bytes that a process sends, by kind of collective. */
export type Sent = Partial<Record<'all-reduce' | 'reduce-scatter' | 'all-gather' | 'all-to-all', number>>;

export class PlannedCluster extends Cluster {
  override readonly collectives: Collectives;
  private readonly counts: Sent = {};

  /** @param size number of processes; this one is the first */
  constructor(size: number) {
    super({ rank: 0, size, localRank: 0, leader: { host: 'nowhere', port: 1 }, launcher: 'plan' }, []);
    const { collectives } = new Cluster(this.launch, []);
    this.collectives = sentBy(collectives, this.counts);
  }

  /** What was recorded since the last call. */
  takeSent(): Sent {
    const sent = { ...this.counts };
    for (const kind of Object.keys(this.counts) as (keyof Sent)[]) delete this.counts[kind];
    return sent;
  }
}

/**
 * The same collectives, which add to `sent` what a process sends when they are recorded. A ring sends every part of an input once around,
 * twice for an all-reduce.
 */
export function sentBy(inner: Collectives, sent: Sent): Collectives {
  const { rank, size } = inner;
  if (size === 1) return inner;
  const count = (kind: keyof Sent, x: tf.Tensor, parts: number): void => {
    sent[kind] = (sent[kind] ?? 0) + (4 * x.size * parts) / size;
  };
  const exchange = (x: tf.Tensor): tf.Tensor => {
    count('all-to-all', x, size - 1);
    return inner.allToAll(x);
  };
  return {
    rank,
    size,
    allReduce(x, reduction?: Reduction) {
      count('all-reduce', x, 2 * (size - 1));
      return inner.allReduce(x, reduction);
    },
    reduceScatter(x) {
      count('reduce-scatter', x, size - 1);
      return inner.reduceScatter(x);
    },
    allGather(x) {
      // Every other rank gets this one's part.
      count('all-gather', x, size * (size - 1));
      return inner.allGather(x);
    },
    allToAll: (x) =>
      customGradient(
        [x],
        ([input]) => ({ value: exchange(input), saved: [] }),
        (dy) => [exchange(dy)],
      ),
    group: (ranks) => sentBy(inner.group(ranks), sent),
  };
}
