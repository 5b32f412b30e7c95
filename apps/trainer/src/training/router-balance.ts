/** Balance of the routers without a loss: load biases, which are weights that no gradient moves. */
import type { Routing } from '@dit-moe/moe';
import { loadBiasStep } from '@dit-moe/moe/selectors';
import { Parameter } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

export class RouterBalance {
  /** Tokens per layer and expert since the last step, `[layers, E]`; not saved, as checkpoints fall between steps. */
  readonly load: Parameter;

  /**
   * @param biases of the layers with experts in order, `[E]` each
   * @param rate what a bias moves by in a step
   */
  constructor(
    private readonly biases: readonly Parameter[],
    private readonly rate: number,
  ) {
    this.load = Parameter.create('routers.load', () => tf.zeros([biases.length, biases[0].shape[0]]));
  }

  /** Counts a micro-batch; inside a compiled step. */
  count(routing: readonly Routing[]): void {
    const experts = this.load.shape[1];
    // An expert of the null class is not the router's to balance.
    this.load.add(tf.stack(routing.map(({ load }) => tf.slice(load, [0], [experts]))));
  }

  /**
   * Moves the biases by what was counted, and counts anew; inside a compiled step.
   * @param total adds up the loads of all processes (default: there is one)
   */
  update(total: (load: tf.Tensor) => tf.Tensor = (load) => load): void {
    const steps = tf.unstack(loadBiasStep(total(this.load.read()), this.rate));
    for (const [layer, bias] of this.biases.entries()) bias.add(steps[layer]);
    this.load.assign(tf.zerosLike(this.load.read()));
  }

  /** Forgets what was counted, for a step that is not applied. */
  reset(): void {
    this.load.fill(0);
  }

  dispose(): void {
    this.load.dispose();
  }
}
