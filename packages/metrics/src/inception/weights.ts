/** Weights of the Inception network: names and shapes of the published PyTorch conversion, batch norms folded on the way. */
import type { WeightSource } from '@dit-moe/tensor-ops/io';
import * as tf from '@tensorflow/tfjs-core';
import { MetricError } from '../errors.js';
import { convolutions, type FoldedConvolution, type InceptionWeights, LOGITS, POOL_FEATURES } from './architecture.js';

/** Of the graph's batch norms; torchvision has the same. */
const BATCH_NORM_EPSILON = 1e-3;

/** Shape of every tensor of the published file `pt_inception-2015-12-05-6726825d.pth`, filters `[out, in, height, width]`. */
export function inceptionShapes(): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  for (const [name, [height, width, inputs, outputs]] of convolutions) {
    shapes.set(`${name}.conv.weight`, [outputs, inputs, height, width]);
    for (const part of ['weight', 'bias', 'running_mean', 'running_var']) shapes.set(`${name}.bn.${part}`, [outputs]);
  }
  shapes.set('fc.weight', [LOGITS, POOL_FEATURES]);
  shapes.set('fc.bias', [LOGITS]);
  return shapes;
}

/**
 * Loads the weights, one tensor at a time; the caller owns the result (`disposeInception`).
 * @throws MetricError naming every tensor that is missing or has another shape, before anything is read
 */
export async function loadInception(source: WeightSource): Promise<InceptionWeights> {
  const present = new Set(source.names);
  const problems: string[] = [];
  for (const [name, shape] of inceptionShapes()) {
    if (!present.has(name)) problems.push(`${name} is missing`);
    else if (source.info(name).shape.join() !== shape.join()) problems.push(`${name} is [${source.info(name).shape}], expected [${shape}]`);
  }
  if (problems.length > 0) {
    const shown = problems.slice(0, 5).join('; ');
    throw new MetricError('loadInception', `${shown}${problems.length > 5 ? `; and ${problems.length - 5} more` : ''}.`);
  }
  const values = async (name: string): Promise<Float32Array> => Float32Array.from((await source.read(name)).data as ArrayLike<number>);
  const folded: Record<string, FoldedConvolution> = {};
  for (const [name, shape] of convolutions) {
    const [weight, scale, bias, mean, variance] = await Promise.all(
      ['conv.weight', 'bn.weight', 'bn.bias', 'bn.running_mean', 'bn.running_var'].map((part) => values(`${name}.${part}`)),
    );
    folded[name] = fold(shape, weight, scale, bias, mean, variance);
  }
  const [fc, fcBias] = [await values('fc.weight'), await values('fc.bias')];
  return {
    convolutions: folded,
    fc: tf.tidy(() => tf.transpose(tf.tensor2d(fc, [LOGITS, POOL_FEATURES]))),
    fcBias: tf.tensor1d(fcBias),
  };
}

/** Frees the weights. */
export function disposeInception(weights: InceptionWeights): void {
  for (const { filter, bias } of Object.values(weights.convolutions)) tf.dispose([filter, bias]);
  tf.dispose([weights.fc, weights.fcBias]);
}

/** `scale (conv(x) - mean) / sqrt(var + eps) + bias` as one convolution; in float64, filters turned to `[kh, kw, in, out]`. */
function fold(
  [height, width, inputs, outputs]: readonly [number, number, number, number],
  weight: Float32Array,
  scale: Float32Array,
  bias: Float32Array,
  mean: Float32Array,
  variance: Float32Array,
): FoldedConvolution {
  const area = height * width;
  const filter = new Float32Array(weight.length);
  const shift = new Float32Array(outputs);
  for (let o = 0; o < outputs; o++) {
    const factor = scale[o] / Math.sqrt(variance[o] + BATCH_NORM_EPSILON);
    shift[o] = bias[o] - mean[o] * factor;
    for (let i = 0; i < inputs; i++)
      for (let p = 0; p < area; p++) filter[(p * inputs + i) * outputs + o] = weight[(o * inputs + i) * area + p] * factor;
  }
  return { filter: tf.tensor4d(filter, [height, width, inputs, outputs]), bias: tf.tensor1d(shift) };
}
