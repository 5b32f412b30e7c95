/**
 * Balance without a loss (Wang et al. 2024, arXiv 2408.15664; DeepSeek-V3): a bias per expert is added to the scores for the choice
 * only, and after each step moves by a fixed rate towards even load. No gradient is involved.
 */
import { Parameter } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

/**
 * What biases move by: `rate * sign(mean load - load)`, centred so that they do not drift (as torchtitan does; the choice is the same).
 * @param load tokens per layer and expert, `[layers, E]`
 */
export function loadBiasStep(load: tf.Tensor, rate: number): tf.Tensor {
  const step = tf.mul(tf.sign(tf.sub(tf.mean(load, 1, true), load)), rate);
  return tf.sub(step, tf.mean(step, 1, true));
}

/** The biases of all layers; keep `parameter` in checkpoints. */
export class LoadBias {
  /** `[layers, E]` */
  readonly parameter: Parameter;

  /**
   * @param layers layers with experts
   * @param numExperts routed experts of each
   * @param name of the parameter (default `routing.bias`)
   */
  constructor(layers: number, numExperts: number, name = 'routing.bias') {
    this.parameter = Parameter.create(name, () => tf.zeros([layers, numExperts]));
  }

  /** The bias of each layer, `[E]`, to be given to `moe` or `route`. The caller disposes them. */
  read(): tf.Tensor[] {
    return tf.tidy(() => tf.unstack(this.parameter.read()));
  }

  /**
   * Adds {@link loadBiasStep}. May be called inside a compiled step; under accumulation once per optimizer step, with the load of all micro-batches.
   *
   * @param load tokens per layer and expert, `[layers, E]`
   * @param rate 0.001 in both papers (for scores of a sigmoid or softmax)
   */
  update(load: tf.Tensor, rate = 0.001): void {
    tf.tidy(() => this.parameter.add(loadBiasStep(load, rate)));
  }

  dispose(): void {
    this.parameter.dispose();
  }
}
