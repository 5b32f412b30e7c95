/** Gradient accumulation: the mean gradient of a large batch from micro-batches of any number and sizes. */
import * as tf from '@tensorflow/tfjs-core';
import { Parameter } from '../parameter.js';
import { globalNorm } from './clip.js';

/** Sums of gradients, kept as parameters so that a compiled step adds to them in place. */
export class GradientAccumulator {
  private readonly sums: Readonly<Record<string, Parameter>>;
  private readonly samples: Parameter;

  /** @param parameters whose gradients are summed, by name */
  constructor(parameters: Readonly<Record<string, Parameter>>) {
    this.sums = Object.fromEntries(
      Object.entries(parameters).map(([name, { shape }]) => [
        name,
        Parameter.create(`gradients.${name}`, () => tf.zeros(shape as number[])),
      ]),
    );
    this.samples = Parameter.create('gradients.samples', () => tf.scalar(0));
  }

  /**
   * Adds a micro-batch.
   * @param grads gradients of the *mean* loss of the micro-batch, by name
   * @param samples how many samples it has, so that unequal micro-batches weigh right
   */
  add(grads: Readonly<Record<string, tf.Tensor>>, samples: number): void {
    tf.tidy(() => {
      for (const [name, grad] of Object.entries(grads)) tf.tidy(() => this.sums[name].add(tf.mul(grad, samples)));
      this.samples.add(tf.scalar(samples));
    });
  }

  /** Norm of the gradient of the mean loss over everything added so far. */
  norm(): tf.Tensor {
    return tf.tidy(() => {
      const totals = Object.fromEntries(Object.entries(this.sums).map(([name, total]) => [name, total.read()]));
      return tf.div(globalNorm(totals), this.samples.read());
    });
  }

  /** The gradients of the mean loss over everything added, and starts anew. */
  take(): Record<string, tf.Tensor> {
    return tf.tidy(() => {
      const factor = tf.div(1, this.samples.read());
      const means = Object.fromEntries(Object.entries(this.sums).map(([name, total]) => [name, tf.mul(total.read(), factor)]));
      this.reset();
      return means;
    });
  }

  /** Drops what was added, for example after a gradient that is not finite. */
  reset(): void {
    tf.tidy(() => {
      for (const total of [...Object.values(this.sums), this.samples]) tf.tidy(() => total.assign(tf.zerosLike(total.read())));
    });
  }

  /** Frees the sums. */
  dispose(): void {
    for (const total of [...Object.values(this.sums), this.samples]) total.dispose();
  }
}
