/** Balance of the routers without a loss: load biases, which are weights that no gradient moves. */
import type { Routing } from '@dit-moe/moe';
import { loadBiasStep } from '@dit-moe/moe/selectors';
import { type Collectives, Parameter } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { RouterMemory } from './router-memory.js';

export class RouterBalance implements RouterMemory {
  /** Tokens per layer and expert since the last step, `[layers, E]`; not saved, as checkpoints fall between steps. */
  private readonly load: Parameter;

  /**
   * @param biases of the layers with experts in order, `[E]` each
   * @param rate what a bias moves by in a step
   * @param collectives of a cluster, whose loads are added up
   */
  constructor(
    private readonly biases: readonly Parameter[],
    private readonly rate: number,
    private readonly collectives: Collectives | undefined,
  ) {
    this.load = Parameter.create('routers.load', () => tf.zeros([biases.length, biases[0].shape[0]]));
  }

  get counters(): Parameter[] {
    return [this.load];
  }

  count(routing: readonly Routing[]): void {
    const experts = this.load.shape[1];
    // An expert of the null class is not the router's to balance.
    this.load.add(tf.stack(routing.map(({ load }) => tf.slice(load, [0], [experts]))));
  }

  update(): void {
    const own = this.load.read();
    const steps = tf.unstack(loadBiasStep(this.collectives?.allReduce(own) ?? own, this.rate));
    for (const [layer, bias] of this.biases.entries()) bias.add(steps[layer]);
    this.load.assign(tf.zerosLike(this.load.read()));
  }

  reset(): void {
    this.load.fill(0);
  }

  dispose(): void {
    this.load.dispose();
  }
}
