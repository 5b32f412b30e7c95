/**
 * AdamW (Loshchilov and Hutter 2019): Adam with decoupled weight decay, numerically as `torch.optim.AdamW`.
 *
 * On the TensorFlow runtime each parameter takes one fused `ResourceApplyAdam`. That op adds epsilon to sqrt(v) before the bias
 * correction, so it receives the corrected learning rate and `epsilon sqrt(1 - beta2^t)`, which makes the two forms equal.
 */
import * as tf from '@tensorflow/tfjs-core';
import { ArgumentError } from '../errors.js';
import { Parameter } from '../parameter.js';
import { ParameterSet } from '../parameter-set.js';
import { DataType, tensorFlowBackend } from '../tensorflow-backend.js';

/** Rates of AdamW. */
export interface AdamWOptions {
  /** Decay of the mean of gradients (default 0.9). */
  beta1?: number;
  /** Decay of the mean of squared gradients (default 0.999). */
  beta2?: number;
  /** Added to the root of the corrected second moment (default 1e-8). */
  epsilon?: number;
  /** Each step multiplies the weights by `1 - learningRate * weightDecay` (default 0, as DiT trains). */
  weightDecay?: number;
}

/**
 * A gradient that is made when its turn has come: in a compiled step not before `before` is there, which comes with the update before it.
 * What it makes on the way is freed by the caller's `tf.tidy`.
 */
export type LateGradient = (before?: tf.Tensor) => tf.Tensor;

/** Optimizer of a fixed set of parameters; its state are parameters too, so that it runs inside a compiled step. */
export class AdamW {
  /** Steps taken, float32 scalar (exact up to 2^24). */
  readonly step: Parameter;
  /** Means of gradients by the parameters' names. */
  readonly firstMoments: ParameterSet;
  /** Means of squared gradients by the parameters' names. */
  readonly secondMoments: ParameterSet;
  private readonly options: Required<AdamWOptions>;

  /**
   * @param parameters what is optimised, by name; float32
   * @throws ArgumentError for a beta outside [0, 1), a negative epsilon or weight decay
   */
  constructor(
    private readonly parameters: Readonly<Record<string, Parameter>>,
    options: AdamWOptions = {},
  ) {
    const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0 } = options;
    for (const [name, beta] of Object.entries({ beta1, beta2 }))
      if (!(beta >= 0 && beta < 1)) throw new ArgumentError(`AdamW.${name}`, 'a number in [0, 1)', beta);
    for (const [name, value] of Object.entries({ epsilon, weightDecay }))
      if (!(value >= 0 && Number.isFinite(value))) throw new ArgumentError(`AdamW.${name}`, 'a number of at least 0', value);
    this.options = { beta1, beta2, epsilon, weightDecay };
    this.step = new Parameter('adamw.step', []);
    this.step.fill(0);
    this.firstMoments = ParameterSet.zerosLike(parameters, 'adamw.m.');
    this.secondMoments = ParameterSet.zerosLike(parameters, 'adamw.v.');
  }

  /** The whole state as parameters by name, for checkpoints. */
  get state(): Record<string, Parameter> {
    const moments = [this.firstMoments, this.secondMoments].flatMap(({ parameters }) => Object.values(parameters));
    const all = [this.step, ...moments];
    return Object.fromEntries(all.map((parameter) => [parameter.name, parameter]));
  }

  /**
   * One step.
   * @param grads by the parameters' names; a parameter without gradient stays as it is
   * @param learningRate scalar
   * @throws ArgumentError if a gradient belongs to no parameter
   */
  apply(grads: Readonly<Record<string, tf.Tensor | LateGradient>>, learningRate: tf.Tensor | number): void {
    const { beta1, beta2, epsilon, weightDecay } = this.options;
    for (const name of Object.keys(grads))
      if (this.parameters[name] === undefined) throw new ArgumentError('AdamW.apply: grads', 'gradients of the parameters given', name);
    tf.tidy(() => {
      const t = tf.add(this.step.read(), 1);
      this.step.assign(t);
      // 1 - beta^t without cancellation, of the float32 values that the moments are computed with.
      const correction = (beta: number): tf.Tensor =>
        beta === 0 ? tf.scalar(1) : tf.neg(tf.expm1(tf.mul(t, Math.log(Math.fround(beta)))));
      const root = tf.sqrt(correction(beta2));
      const rate = tf.mul(learningRate, tf.div(root, correction(beta1)));
      const epsilonHat = tf.mul(root, epsilon);
      const keep = weightDecay === 0 ? undefined : tf.sub(1, tf.mul(learningRate, weightDecay));
      const backend = tensorFlowBackend();
      let before: tf.Tensor | undefined;
      for (const [name, given] of Object.entries(grads)) {
        const grad = typeof given === 'function' ? given(before) : given;
        const [weight, m, v] = [this.parameters[name], this.firstMoments.parameters[name], this.secondMoments.parameters[name]];
        if (keep !== undefined) tf.tidy(() => weight.assign(tf.mul(weight.read(), keep)));
        if (backend !== undefined) {
          const inputs = [weight.resource!, m.resource!, v.resource!, tf.scalar(0), tf.scalar(0), rate];
          backend.raw(
            'ResourceApplyAdam',
            [...inputs, tf.scalar(beta1), tf.scalar(beta2), epsilonHat, grad],
            { T: { type: DataType.float32 } },
            0,
          );
        } else {
          tf.tidy(() => {
            const mean = tf.add(tf.mul(m.read(), beta1), tf.mul(grad, 1 - Math.fround(beta1)));
            const square = tf.add(tf.mul(v.read(), beta2), tf.mul(tf.square(grad), 1 - Math.fround(beta2)));
            m.assign(mean);
            v.assign(square);
            weight.assign(tf.sub(weight.read(), tf.div(tf.mul(mean, rate), tf.add(tf.sqrt(square), epsilonHat))));
          });
        }
        if (typeof given === 'function') {
          grad.dispose();
          // A value after the update, which the next gradient waits for.
          if (backend?.recording === true) before = weight.read();
        }
      }
    });
  }

  /** Frees the moments; the parameters stay. */
  dispose(): void {
    for (const parameter of Object.values(this.state)) parameter.dispose();
  }
}
