/** Dormand and Prince's pair of orders 5 and 4 for the probability flow, with steps chosen by the estimated error ("dopri5"). */
import { ArgumentError, DitMoeError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { changesPrediction, type DiffusionModel, type PredictionOptions, predictClean, predictVelocity } from '../diffusion-model.js';
import { cleanWeights } from '../predictions.js';
import { weightedSum } from '../weighted-sum.js';
import type { SolverOptions, SolverRun } from './solver.js';

/** Rows of the tableau below the diagonal; the last one is the solution of order 5 and the first stage of the next step. */
const STAGES = [
  [1 / 5],
  [3 / 40, 9 / 40],
  [44 / 45, -56 / 15, 32 / 9],
  [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
  [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
  [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
];
const NODES = [1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1];
/** Difference of the solutions of orders 5 and 4. */
const ERROR = [71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40];

/** Limits of the change of the step size, and the share of the ideal one that is taken. */
const [SHRINK, GROW, SAFETY] = [0.2, 5, 0.9];

/** Tolerances of an adaptive solver. */
export interface AdaptiveOptions extends SolverOptions, PredictionOptions {
  /** Error allowed per step, relative to the samples (default 1e-3). */
  relativeTolerance?: number;
  /** Error allowed per step besides (default 1e-4; float32 supports no less than about 1e-6). */
  absoluteTolerance?: number;
  /** First step to try (default 0.05). */
  firstStep?: number;
  /** Evaluations of the model after which the solver gives up (default 1000). */
  maxEvaluations?: number;
}

/** The tolerances cannot be met. */
export class StepSizeError extends DitMoeError {
  static override readonly code = 'E_STEP_SIZE';
  constructor(evaluations: number, time: number) {
    super(
      `Dormand-Prince used ${evaluations} evaluations and reached only time ${time.toPrecision(3)}: raise the tolerances or maxEvaluations.`,
    );
  }
}

/**
 * Integrates `dx/dt = velocity` along the path, six evaluations per step; where the model cannot be asked at clean data, one
 * more leads from the path's end to the predicted clean sample.
 *
 * The error is the root mean square over the whole batch, so samples of one batch share their steps: unlike with the other
 * solvers, a sample depends on its batch within the tolerance. In a batch of its own it depends on nothing else.
 *
 * @param noise at the path's start, `[B, ...]`; not disposed
 * @throws ArgumentError if a tolerance or the first step is not positive
 * @throws StepSizeError if the tolerances need more evaluations than allowed
 */
export async function* dormandPrince(model: DiffusionModel, noise: tf.Tensor, options: AdaptiveOptions = {}): SolverRun {
  const { signal, relativeTolerance = 1e-3, absoluteTolerance = 1e-4, firstStep = 0.05, maxEvaluations = 1000 } = options;
  for (const [name, value] of Object.entries({ relativeTolerance, absoluteTolerance, firstStep }))
    if (!(value > 0)) throw new ArgumentError(`dormandPrince: ${name}`, 'a positive number', value);
  const { path } = model;
  // What changes the predicted clean sample says nothing about the velocity at clean data.
  const end = changesPrediction(options) ? Math.max(path.end, 1e-3) : path.end;
  const velocity = (samples: tf.Tensor, t: number, number: number) => predictVelocity(model, samples, path.level(t), number, options);
  let [time, size, step, evaluations] = [path.start, firstStep, 0, 1];
  let x = noise.clone();
  let slopes: tf.Tensor[] = [];
  let clean: tf.Tensor | undefined;
  let trial: tf.Tensor | undefined;
  let returned = false;
  try {
    slopes = [await velocity(x, time, 1)];
    while (time > end) {
      signal?.throwIfAborted();
      const length = Math.min(size, time - end);
      const next = length === time - end ? end : time - length;
      if (evaluations + STAGES.length > maxEvaluations) throw new StepSizeError(evaluations, time);
      for (const [stage, row] of STAGES.entries()) {
        const at = weightedSum([1, ...row.map((weight) => -length * weight)], [x, ...slopes]);
        trial?.dispose();
        trial = at;
        slopes.push(await velocity(at, stage >= 4 ? next : time - NODES[stage] * length, step + 1));
      }
      evaluations += STAGES.length;
      const ratio = tf.tidy(() => {
        const allowed = tf.add(tf.mul(tf.maximum(tf.abs(x), tf.abs(trial!)), relativeTolerance), absoluteTolerance);
        const difference = weightedSum(
          ERROR.map((weight) => length * weight),
          slopes,
        );
        return tf.sqrt(tf.mean(tf.square(tf.div(difference, allowed))));
      });
      const error = (await ratio.data())[0];
      ratio.dispose();
      size = length * Math.min(GROW, Math.max(SHRINK, SAFETY * error ** -0.2));
      const [first, last] = [slopes[0], slopes.at(-1)!];
      if (error > 1) {
        tf.dispose(slopes.slice(1));
        slopes = [first];
        continue;
      }
      const done = [x, clean, ...slopes.slice(0, -1)].filter((tensor) => tensor !== undefined);
      const [ofX, ofVelocity] = cleanWeights('velocity', path.level(time));
      clean = weightedSum([ofX, ofVelocity], [x, first]);
      [x, slopes, time] = [trial!, [last], next];
      trial = undefined;
      tf.dispose(done);
      step++;
      yield { step, steps: time > 0 ? step + 1 : step, time: path.level(time).time, x, clean };
    }
    if (time > 0) {
      const last = await predictClean(model, x, path.level(time), ++step, options);
      tf.dispose([x, clean!]);
      [x, clean] = [last, last.clone()];
      yield { step, steps: step, time: 0, x, clean };
    }
    returned = true;
    return x;
  } finally {
    tf.dispose(slopes);
    clean?.dispose();
    trial?.dispose();
    if (!returned) x.dispose();
  }
}
