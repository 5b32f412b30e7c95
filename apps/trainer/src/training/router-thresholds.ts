/** Thresholds of routers whose tokens compete over a batch: weights that no gradient moves, for sampling. */
import type { Routing } from '@dit-moe/moe';
import { Parameter } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { RouterMemory } from './router-memory.js';

/** Decay of the running mean, of DiffMoE (arXiv 2503.14487). */
const DECAY = 0.95;

export class RouterThresholds implements RouterMemory {
  /** Sums of the edges since the last step, `[layers, E]`, and the number of micro-batches; not saved, as checkpoints fall between steps. */
  private readonly edges: Parameter;
  private readonly batches: Parameter;

  /**
   * @param sums of the layers with experts in order, `[E]` each
   * @param shares how much of the running mean there is yet, `[1]` each
   */
  constructor(
    private readonly sums: readonly Parameter[],
    private readonly shares: readonly Parameter[],
  ) {
    this.edges = Parameter.create('routers.edges', () => tf.zeros([sums.length, sums[0].shape[0]]));
    this.batches = Parameter.create('routers.batches', () => tf.zeros([1]));
  }

  get counters(): Parameter[] {
    return [this.edges, this.batches];
  }

  count(routing: readonly Routing[]): void {
    // In a cluster every rank has compared the tokens of all.
    this.edges.add(tf.stack(routing.map(({ edge }) => edge!)));
    this.batches.add(tf.ones([1]));
  }

  update(): void {
    const means = tf.unstack(tf.div(this.edges.read(), this.batches.read()));
    const moved = (average: Parameter, now: tf.Tensor): void =>
      average.assign(tf.add(tf.mul(average.read(), DECAY), tf.mul(now, 1 - DECAY)));
    for (const [layer, sum] of this.sums.entries()) moved(sum, means[layer]);
    for (const share of this.shares) moved(share, tf.ones([1]));
    for (const counted of this.counters) counted.assign(tf.zerosLike(counted.read()));
  }

  reset(): void {
    for (const counted of this.counters) counted.fill(0);
  }

  dispose(): void {
    for (const counted of this.counters) counted.dispose();
  }
}
