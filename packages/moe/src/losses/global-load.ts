/** Tokens per expert over the micro-batches of a step, for a balance loss over the whole batch. */
import { Parameter } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

/**
 * Running load of one optimizer step. In each micro-batch: give `read()[layer]` to `globalBalanceLoss`, then `add` the load; `reset`
 * after the optimizer. As in Megatron, the first micro-batches of a step know less of it than the last. The parameter need not be
 * saved if checkpoints fall between steps.
 */
export class GlobalLoad {
  /** `[layers, E]` */
  readonly parameter: Parameter;

  constructor(layers: number, numExperts: number, name = 'routing.globalLoad') {
    this.parameter = Parameter.create(name, () => tf.zeros([layers, numExperts]));
  }

  /** What earlier micro-batches sent to each expert, `[E]` per layer. The caller disposes them. */
  read(): tf.Tensor[] {
    return tf.tidy(() => tf.unstack(this.parameter.read()));
  }

  /** Adds the load of a micro-batch, `[layers, E]`. */
  add(load: tf.Tensor): void {
    this.parameter.add(load);
  }

  /** Starts a new step. */
  reset(): void {
    tf.tidy(() => this.parameter.assign(tf.zeros(this.parameter.shape as number[])));
  }

  dispose(): void {
    this.parameter.dispose();
  }
}
