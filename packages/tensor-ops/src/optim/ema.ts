/** Exponential moving average of weights, with which diffusion models are sampled. */
import * as tf from '@tensorflow/tfjs-core';
import { ArgumentError } from '../errors.js';
import { Parameter } from '../parameter.js';
import { ParameterSet } from '../parameter-set.js';
import { DataType, tensorFlowBackend } from '../tensorflow-backend.js';

/** One average; several rates are several of these. */
export class Ema {
  /** The averages by the parameters' names. */
  readonly averages: ParameterSet;

  /**
   * @param parameters what is averaged, by name; their current values are the first averages
   * @param decay share of the old average kept in each update (0.9999 in DiT)
   * @throws ArgumentError for a decay outside [0, 1)
   */
  constructor(
    private readonly parameters: Readonly<Record<string, Parameter>>,
    readonly decay: number,
  ) {
    if (!(decay >= 0 && decay < 1)) throw new ArgumentError('Ema.decay', 'a number in [0, 1)', decay);
    const averages: Record<string, Parameter> = {};
    for (const [name, parameter] of Object.entries(parameters))
      averages[name] = Parameter.create(`ema.${decay}.${name}`, () => parameter.read());
    this.averages = new ParameterSet(averages);
  }

  /** `average = decay average + (1 - decay) weight`, for all parameters; call it after the optimizer's step. */
  update(): void {
    const backend = tensorFlowBackend();
    for (const [name, average] of Object.entries(this.averages.parameters)) {
      tf.tidy(() => {
        const distance = tf.sub(average.read(), this.parameters[name].read());
        // "Gradient descent" on the distance is the update in one pass over the average.
        if (backend !== undefined)
          backend.raw(
            'ResourceApplyGradientDescent',
            [average.resource!, tf.scalar(1 - this.decay), distance],
            { T: { type: DataType.float32 } },
            0,
          );
        else average.assign(tf.sub(average.read(), tf.mul(distance, 1 - this.decay)));
      });
    }
  }

  /** The averages start anew from the current values. */
  restart(): void {
    for (const [name, average] of Object.entries(this.averages.parameters)) tf.tidy(() => average.assign(this.parameters[name].read()));
  }

  /** Frees the averages; the parameters stay. */
  dispose(): void {
    this.averages.dispose();
  }
}
