/** Gradient accumulation: the mean gradient of a large batch from micro-batches of any number and sizes. */
import * as tf from '@tensorflow/tfjs-core';
import { Parameter } from '../parameter.js';
import { ParameterSet } from '../parameter-set.js';
import { globalNorm } from './clip.js';

/** Sums of gradients, kept as parameters so that a compiled step adds to them in place. */
export class GradientAccumulator {
  private readonly sums: ParameterSet;
  private readonly samples: Parameter;

  /** @param parameters whose gradients are summed, by name */
  constructor(parameters: Readonly<Record<string, Parameter>>) {
    this.sums = ParameterSet.zerosLike(parameters, 'gradients.');
    this.samples = new Parameter('gradients.samples', []);
    this.samples.fill(0);
  }

  /** The sums by the parameters' names. */
  get parameters(): Readonly<Record<string, Parameter>> {
    return this.sums.parameters;
  }

  /**
   * Adds a micro-batch.
   * @param grads gradients of the *mean* loss of the micro-batch, by name
   * @param samples how many samples it has, so that unequal micro-batches weigh right; a scalar of 0 leaves it out
   */
  add(grads: Readonly<Record<string, tf.Tensor>>, samples: number | tf.Tensor): void {
    tf.tidy(() => {
      for (const [name, grad] of Object.entries(grads)) tf.tidy(() => this.sums.parameters[name].add(tf.mul(grad, samples)));
      this.samples.add(typeof samples === 'number' ? tf.scalar(samples) : samples);
    });
  }

  /** Norm of the gradient of the mean loss over everything added so far. */
  norm(): tf.Tensor {
    return tf.tidy(() => {
      return tf.div(globalNorm(this.sums.read()), this.samples.read());
    });
  }

  /** The gradients of the mean loss over everything added, and starts anew. */
  take(): Record<string, tf.Tensor> {
    return tf.tidy(() => {
      const factor = tf.div(1, this.samples.read());
      const means: Record<string, tf.Tensor> = {};
      for (const [name, total] of Object.entries(this.sums.read())) means[name] = tf.mul(total, factor);
      this.reset();
      return means;
    });
  }

  /** Drops what was added, for example after a gradient that is not finite. */
  reset(): void {
    for (const total of [...Object.values(this.sums.parameters), this.samples]) total.fill(0);
  }

  /** Frees the sums. */
  dispose(): void {
    this.sums.dispose();
    this.samples.dispose();
  }
}
