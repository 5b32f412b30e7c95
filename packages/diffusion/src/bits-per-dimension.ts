/** The variational bound on the likelihood of data, in bits per dimension, term by term. */
import * as tf from '@tensorflow/tfjs-core';
import type { Denoiser } from './denoiser.js';
import type { CleanOptions, GaussianDiffusion } from './gaussian-diffusion.js';
import { priorBits, variationalTerm } from './gaussian-losses.js';
import { meanPerSample } from './per-sample.js';
import { drawNoise, evaluate, type SolverOptions, type StepNoise } from './solvers/solver.js';

/** `[B]`, or `[B, steps]` in loop order: the noisiest step first. The caller owns the tensors. */
export interface BitsPerDimension {
  /** Sum of all terms and the prior `[B]`. */
  total: tf.Tensor;
  /** `[B]` */
  prior: tf.Tensor;
  /** Terms of the bound `[B, steps]`. */
  terms: tf.Tensor;
  /** Squared error of the predicted clean sample `[B, steps]`. */
  cleanError: tf.Tensor;
  /** Squared error of the noise that it implies `[B, steps]`. */
  noiseError: tf.Tensor;
}

/**
 * Evaluates the bound with one model call per step.
 * @param clean `[B, C, ...]` in [-1, 1], multiples of 2/255 from -1 for the likelihood to mean anything
 */
export async function bitsPerDimension(
  diffusion: GaussianDiffusion,
  model: Denoiser,
  clean: tf.Tensor,
  noise: StepNoise,
  options: SolverOptions & CleanOptions = {},
): Promise<BitsPerDimension> {
  const rows: tf.Tensor[] = [];
  const squaredError = (a: tf.Tensor, b: tf.Tensor) => meanPerSample(tf.squaredDifference(a, b));
  try {
    for (let step = 0; step < diffusion.steps; step++) {
      options.signal?.throwIfAborted();
      const t = diffusion.steps - 1 - step;
      const drawn = drawNoise(noise, step, clean);
      const x = tf.tidy(() => diffusion.addNoise(clean, t, drawn));
      try {
        const output = await evaluate(model, x, diffusion.level(t), step + 1);
        rows.push(
          tf.tidy(() => {
            const term = variationalTerm(diffusion, output, clean, x, t, options);
            const implied = diffusion.noiseFromClean(x, t, term.clean);
            return tf.stack([term.bits, squaredError(term.clean, clean), squaredError(implied, drawn)]); // [3, B]
          }),
        );
        output.dispose();
      } finally {
        tf.dispose([drawn, x]);
      }
    }
    return tf.tidy(() => {
      const [terms, cleanError, noiseError] = tf.unstack(tf.stack(rows, 2)) as [tf.Tensor, tf.Tensor, tf.Tensor];
      const prior = priorBits(diffusion, clean);
      return { total: tf.add(tf.sum(terms, 1), prior), prior, terms, cleanError, noiseError };
    }) as BitsPerDimension;
  } finally {
    tf.dispose(rows);
  }
}
