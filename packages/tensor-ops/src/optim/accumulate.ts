/** Gradient accumulation: the mean gradient of a large batch from micro-batches of any number and sizes. */
import * as tf from '@tensorflow/tfjs-core';
import { after } from '../ops/after.js';
import { Parameter } from '../parameter.js';
import { ParameterSet } from '../parameter-set.js';
import { tensorFlowBackend } from '../tensorflow-backend.js';
import type { LateGradient } from './adamw.js';
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

  /**
   * The gradients of the mean loss over everything added, each made when it is asked for, so that they never exist all at once beside
   * their sums. Each has to be asked for once, and its sum starts anew then.
   */
  takeEach(): Record<string, LateGradient> {
    const factor = tf.div(1, this.samples.read());
    this.samples.fill(0);
    return Object.fromEntries(
      Object.entries(this.sums.parameters).map(([name, total]) => [
        name,
        (before?: tf.Tensor) =>
          tf.tidy(() => {
            const sum = total.read();
            const gradient = tf.mul(before === undefined ? sum : after(sum, before), factor);
            const backend = tensorFlowBackend();
            // Zeros of the gradient's shape by an op that waits for it; a constant would be made at once.
            total.assign(backend === undefined ? tf.zerosLike(gradient) : backend.raw('ZerosLike', [gradient])[0]);
            return gradient;
          }),
      ]),
    );
  }

  /** {@link takeEach}, all at once. */
  take(): Record<string, tf.Tensor> {
    return tf.tidy(() => Object.fromEntries(Object.entries(this.takeEach()).map(([name, make]) => [name, make()])));
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
