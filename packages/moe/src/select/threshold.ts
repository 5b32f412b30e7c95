/**
 * Routing by a threshold on the score: the form of expert choice and expert race for sampling, where a token must not depend on its
 * neighbours (DiffMoE, arXiv 2503.14487; Expert Race, arXiv 2503.16057). The threshold is estimated while training.
 */
import { ArgumentError, Parameter, stopGradient } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { maskedSelection } from './mask.js';
import type { Selector } from './selector.js';

/**
 * Every expert whose score is above its threshold.
 *
 * @param thresholds `[E]`, or `[1]` for all alike
 * @param predicted what is compared with them instead of the scores, `[N, E]`: a predictor's estimate of being chosen
 */
export const threshold =
  (thresholds: tf.Tensor, predicted?: tf.Tensor): Selector =>
  ({ scores }) =>
    maskedSelection(scores, tf.cast(tf.greater(stopGradient(predicted ?? scores), thresholds), 'float32'));

/** Running thresholds of all layers; keep `parameters` in checkpoints. */
export class ThresholdEstimate {
  readonly parameters: Readonly<Record<'average' | 'weight', Parameter>>;

  /**
   * @param decay of the running mean (default 0.95, DiffMoE)
   * @param name prefix of the parameters (default `routing.threshold`)
   */
  constructor(
    private readonly layers: number,
    numExperts: number,
    private readonly decay = 0.95,
    name = 'routing.threshold',
  ) {
    if (!(decay >= 0 && decay < 1)) throw new ArgumentError('ThresholdEstimate: decay', '0 to below 1', decay);
    this.parameters = {
      average: Parameter.create(`${name}.average`, () => tf.zeros([layers, numExperts])),
      weight: Parameter.create(`${name}.weight`, () => tf.zeros([1])),
    };
  }

  /**
   * Takes in the thresholds of a batch; may be called inside a compiled step.
   *
   * @param scores of each layer, `[N, E]`
   * @param expertsPerToken of the selector used in training
   * @param by `expert`: of each expert's own scores (expert choice); `all`: one for all pairs (global top-K)
   */
  update(scores: readonly tf.Tensor[], expertsPerToken: number, by: 'expert' | 'all'): void {
    if (scores.length !== this.layers) throw new ArgumentError('ThresholdEstimate: layers', `${this.layers}`, scores.length);
    tf.tidy(() => {
      const now = tf.stack(scores.map((s) => batchThreshold(s, expertsPerToken, by)));
      const { average, weight } = this.parameters;
      average.assign(tf.add(tf.mul(average.read(), this.decay), tf.mul(now, 1 - this.decay)));
      weight.assign(tf.add(tf.mul(weight.read(), this.decay), 1 - this.decay));
    });
  }

  /** The threshold of each layer, `[E]`; 0 before the first update. The caller disposes them. */
  read(): tf.Tensor[] {
    return tf.tidy(() => {
      const { average, weight } = this.parameters;
      return tf.unstack(tf.div(average.read(), tf.maximum(weight.read(), 1e-8)));
    });
  }

  dispose(): void {
    for (const parameter of Object.values(this.parameters)) parameter.dispose();
  }
}

/**
 * The middle between the last score that is chosen and the first that is not, `[E]`.
 *
 * @param scores `[N, E]`
 * @param by `expert`: of each expert's own scores; `all`: one for all pairs of token and expert
 */
export function batchThreshold(scores: tf.Tensor, expertsPerToken: number, by: 'expert' | 'all'): tf.Tensor {
  const [tokens, numExperts] = scores.shape as [number, number];
  const rows = by === 'expert' ? tf.transpose(scores) : tf.reshape(scores, [1, tokens * numExperts]);
  const length = rows.shape[1]!;
  const chosen = Math.max(1, Math.round((expertsPerToken * tokens) / (by === 'expert' ? numExperts : 1)));
  const first = Math.min(chosen, length - 1);
  const { values } = tf.topk(rows, first + 1, true);
  const edge = tf.mean(tf.slice(values, [0, Math.max(0, first - 1)], [rows.shape[0], Math.min(2, first + 1)]), 1);
  return by === 'expert' ? edge : tf.mul(tf.ones([numExperts]), edge);
}
