/** Training of the judge on real images. */
import type { Pixels } from '@dit-moe/data';
import { AdamW, compile, Ema, ParameterSet, permutation, randomUniform, valueAndGrads } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { MetricError } from '../errors.js';
import { type ClassifierConfig, classifierSpecs, classify } from './architecture.js';

/** How a classifier is trained. */
export interface ClassifierTrainingOptions {
  /** Of weights, order and shifts (default 0). */
  seed?: number;
  /** Times that every image is seen (default 6). */
  epochs?: number;
  /** Images per step (default 128). */
  batch?: number;
  /** Largest learning rate, reached after a tenth of the steps, then half a cosine down (default 2e-3). */
  learningRate?: number;
  /** Whether half of the images are seen mirrored (default false: digits must not be). */
  flip?: boolean;
  /** Called after every step. */
  onProgress?: (state: { step: number; steps: number; loss: number }) => void;
  /** Ends the training with its reason, between two steps. */
  signal?: AbortSignal;
}

/** An image is moved by up to this share of its edge, so that the judge does not learn places by heart. */
const SHIFT = 1 / 14;
/** How often the averaged weights, which are the ones that judge, are made anew in a training, whatever its length. */
const EMA_WINDOWS = 20;

/**
 * Trains the judge with AdamW on cross entropy.
 * @param images 8-bit, of the size of `config`
 * @param labels of the images, each below the number of classes
 * @returns averaged weights, the caller's
 * @throws MetricError if images or labels do not fit, or the loss is not finite
 */
export async function trainClassifier(
  images: Pixels,
  labels: ArrayLike<number>,
  config: ClassifierConfig,
  options: ClassifierTrainingOptions = {},
): Promise<ParameterSet> {
  const { seed = 0, epochs = 6, batch = 128, learningRate = 2e-3, flip = false, onProgress, signal } = options;
  checkExamples(images, labels, config);
  const size = Math.min(batch, images.count);
  const perEpoch = Math.floor(images.count / size);
  const steps = epochs * perEpoch;
  const parameters = ParameterSet.create(classifierSpecs(config), seed, { purpose: 'classifier' });
  const optimizer = new AdamW(parameters.parameters);
  const ema = new Ema(parameters.parameters, Math.max(0, 1 - EMA_WINDOWS / steps));
  const step = compile(
    (pixels: tf.Tensor, targets: tf.Tensor, rate: tf.Tensor) => {
      const weights = parameters.read();
      const { value, grads } = valueAndGrads(() => ({ loss: crossEntropy(classify(weights, config, pixels).logits, targets) }), weights);
      optimizer.apply(grads, rate);
      ema.update();
      return value;
    },
    { name: 'classifier-training' },
  );
  try {
    for (let done = 0; done < steps; done++) {
      signal?.throwIfAborted();
      const order = permutation({ seed, purpose: 'classifier.order', epoch: Math.floor(done / perEpoch) }, images.count);
      const indices = Array.from({ length: size }, (_, i) => order((done % perEpoch) * size + i));
      const draws = randomUniform({ seed, purpose: 'classifier.moves', index: done }, 3 * size);
      const x = tf.tensor(moved(images, indices, draws, flip), [size, config.size, config.size, 3], 'int32');
      const classes = Int32Array.from(indices, (i) => labels[i]);
      const targets = tf.tidy(() => tf.oneHot(tf.tensor1d(classes, 'int32'), config.classNames.length));
      const rate = tf.scalar(learningRate * Math.min(1, (10 * (done + 1)) / steps) * 0.5 * (1 + Math.cos((Math.PI * done) / steps)));
      const value = await step.run(x, targets, rate).finally(() => tf.dispose([x, targets, rate]));
      const loss = (await value.data())[0];
      value.dispose();
      if (!Number.isFinite(loss))
        throw new MetricError('trainClassifier', `the loss is ${loss} at step ${done + 1}; lower the learning rate.`);
      onProgress?.({ step: done + 1, steps, loss });
    }
    const weights = ParameterSet.declare(classifierSpecs(config));
    tf.tidy(() => {
      for (const [name, average] of Object.entries(ema.averages.read())) weights.parameters[name].assign(average);
    });
    return weights;
  } finally {
    step.dispose();
    for (const part of [parameters, optimizer, ema]) part.dispose();
  }
}

function checkExamples({ count, height, width }: Pixels, labels: ArrayLike<number>, { size, classNames }: ClassifierConfig): void {
  if (height !== size || width !== size)
    throw new MetricError('trainClassifier', `expected pictures of ${size} x ${size}, found ${width} x ${height}.`);
  if (labels.length !== count) throw new MetricError('trainClassifier', `${count} pictures have ${labels.length} labels.`);
  for (let i = 0; i < count; i++)
    if (!(Number.isInteger(labels[i]) && labels[i] >= 0 && labels[i] < classNames.length))
      throw new MetricError('trainClassifier', `label ${labels[i]} of picture ${i} is none of ${classNames.length} classes.`);
}

/** Mean over the batch, in nats. */
function crossEntropy(logits: tf.Tensor, targets: tf.Tensor): tf.Scalar {
  const chosen = tf.sum(tf.mul(logits, tf.cast(targets, 'float32')), -1);
  return tf.mean(tf.sub(tf.logSumExp(logits, -1), chosen));
}

/** RGB of the pictures, each moved and perhaps mirrored; edges are continued. `draws`: three numbers in [0, 1) for each. */
function moved(images: Pixels, indices: readonly number[], draws: ArrayLike<number>, flip: boolean): Uint8Array {
  const { data, height, width, channels } = images;
  const out = new Uint8Array(indices.length * height * width * 3);
  const most = Math.round(SHIFT * width);
  const clamp = (at: number, size: number): number => Math.min(size - 1, Math.max(0, at));
  let to = 0;
  for (const [n, index] of indices.entries()) {
    const [dy, dx] = [0, 1].map((axis) => Math.floor(draws[3 * n + axis] * (2 * most + 1)) - most);
    const mirrored = flip && draws[3 * n + 2] < 0.5;
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const column = clamp((mirrored ? width - 1 - x : x) + dx, width);
        const from = ((index * height + clamp(y + dy, height)) * width + column) * channels;
        for (let c = 0; c < 3; c++) out[to++] = data[channels === 1 ? from : from + c];
      }
  }
  return out;
}
