/**
 * Weights to start from, as PyTorch's layers have them: uniform within one over the root of the inputs, norms as identity. Only the
 * bias of the log variance differs: posteriors begin narrow, because noise of deviation 1 hides latents that say nothing yet.
 */
import { initialWeight } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { AutoencoderConfig } from '../config.js';
import { weightShapes } from '../weight-names.js';
import { type AutoencoderWeights, onDevice } from '../weights.js';

/** Log variance of the posterior at the start: a deviation of 0.05. */
const LOG_VARIANCE = -6;

/** The same for the same seed, whatever computes. The caller disposes of them. */
export function initialAutoencoderWeights(config: AutoencoderConfig, seed: number): AutoencoderWeights {
  const shapes = weightShapes(config);
  const weights: Record<string, tf.Tensor> = {};
  for (const [name, shape] of shapes) {
    if (/norm\d?\.(weight|bias)$|_norm(_out)?\.(weight|bias)$/.test(name)) {
      weights[name] = name.endsWith('weight') ? tf.ones([...shape]) : tf.zeros([...shape]);
      continue;
    }
    const inputs = shapes
      .get(name.replace(/bias$/, 'weight'))!
      .slice(1)
      .reduce((product, n) => product * n, 1);
    const bound = 1 / Math.sqrt(inputs);
    const data = initialWeight(name, { shape: [...shape], initial: { kind: 'uniform', limit: bound } }, seed, 'autoencoder');
    if (name === (config.useQuantConv ? 'quant_conv.bias' : 'encoder.conv_out.bias')) data.fill(LOG_VARIANCE, config.latentChannels);
    weights[name] = onDevice({ dtype: 'F32', shape: [...shape], data }, shape, name);
  }
  return weights;
}
