import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { randomNormal } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { configJson } from '../config.js';
import {
  type AutoencoderConfig,
  AutoencoderTrainer,
  autoencoderConfig,
  autoencoderLoss,
  decodeLatents,
  encodeMoments,
  initialAutoencoderWeights,
  measureScaling,
  posteriorKl,
  posteriorOf,
  samplePosterior,
  stableDiffusionConfig,
  weightShapes,
} from '../index.js';
import { openAutoencoder, saveAutoencoder } from '../node/index.js';

const config: AutoencoderConfig = {
  ...stableDiffusionConfig,
  blockOutChannels: [8, 16],
  layersPerBlock: 1,
  normNumGroups: 4,
  sampleSize: 8,
  latentChannels: 2,
};
/** Smooth pictures of one wave each. */
const images = (count: number): tf.Tensor => {
  const data = Float32Array.from({ length: count * 3 * 64 }, (_, i) => {
    const [b, x, y] = [Math.floor(i / 192), i % 8, Math.floor(i / 8) % 8];
    return Math.sin(x * (0.3 + 0.1 * (b % 5)) + y * 0.2 * (b % 3) + b);
  });
  return tf.tensor(data, [count, 3, 8, 8]);
};
const indices = (count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i);
beforeAll(() => useTensorFlow());

test('the loss is the sum of its parts, whichever are asked for', () => {
  tf.tidy(() => {
    const weights = initialAutoencoderWeights(config, 1);
    const x = images(2);
    const noise = tf.tensor(randomNormal({ seed: 1, purpose: 'n', index: 0 }, 2 * 2 * 16), [2, 2, 4, 4]);
    const posterior = posteriorOf(encodeMoments(weights, config, x));
    const decoded = decodeLatents(weights, config, samplePosterior(posterior, noise));
    const kl = tf.mean(posteriorKl(posterior)).dataSync()[0];
    const perceptual = (a: tf.Tensor, b: tf.Tensor) => tf.max(tf.abs(tf.sub(a, b))) as tf.Scalar;
    const l2 = autoencoderLoss(weights, config, x, noise, { reconstruction: 'l2', klWeight: 0.01, perceptual, perceptualWeight: 0.5 });
    const expected =
      tf.mean(tf.squaredDifference(decoded, x)).dataSync()[0] + 0.01 * kl + 0.5 * tf.max(tf.abs(tf.sub(decoded, x))).dataSync()[0];
    expect(l2.total.dataSync()[0]).toBeCloseTo(expected, 4);
    const l1 = autoencoderLoss(weights, config, x, noise);
    expect(l1.total.dataSync()[0]).toBeCloseTo(tf.mean(tf.abs(tf.sub(decoded, x))).dataSync()[0] + 1e-6 * kl, 5);
  });
});

test('training lowers the loss, is repeatable, and frees everything', async () => {
  const before = tf.memory().numTensors;
  const x = images(16);
  const run = async () => {
    const trainer = new AutoencoderTrainer(config, { seed: 3, emaDecay: 0.9 });
    const losses: number[] = [];
    for (let step = 0; step < 60; step++) losses.push((await trainer.step(x, indices(16, 16 * step), 3e-3)).reconstruction);
    const weights = trainer.weights();
    trainer.dispose();
    return { losses, weights };
  };
  const { losses, weights } = await run();
  expect(losses.at(-1)!).toBeLessThan(0.35 * losses[0]);
  const again = await run();
  tf.dispose(again.weights as Record<string, tf.Tensor>);
  expect(again.losses.slice(0, 5)).toEqual(losses.slice(0, 5));

  // Averaged weights, scaled latents, and what is written is what is read.
  const scaling = await measureScaling(weights, config, x);
  const scaled = { ...config, ...scaling };
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'vae-trained-'));
  await saveAutoencoder(folder, weights, scaled);
  const opened = await openAutoencoder(folder);
  expect(opened.config).toEqual(scaled);
  const [ours, theirs] = [await opened.autoencoder.encode(x), tf.tidy(() => encodeMoments(weights, config, x))];
  expect(ours).toBeCloseTensor(theirs, 1e-4);
  const latents = tf.tidy(() => tf.mul(tf.sub(posteriorOf(theirs).mean, scaling.shiftFactor), scaling.scalingFactor));
  const { mean, variance } = tf.moments(latents);
  expect(Math.abs(mean.dataSync()[0])).toBeLessThan(0.1);
  expect(variance.dataSync()[0]).toBeGreaterThan(0.6);
  expect(variance.dataSync()[0]).toBeLessThan(1.1);
  opened.autoencoder.dispose();
  await fs.rm(folder, { recursive: true });
  tf.dispose([x, ours, theirs, latents, mean, variance]);
  tf.dispose(weights as Record<string, tf.Tensor>);
  expect(tf.memory().numTensors).toBe(before);
});

test('first weights have the scale of PyTorch, and every one is there', () => {
  const weights = initialAutoencoderWeights(config, 0);
  expect(Object.keys(weights)).toEqual([...weightShapes(config).keys()]);
  const filter = weights['encoder.down_blocks.1.resnets.0.conv2.weight'];
  expect(filter.shape).toEqual([3, 3, 16, 16]);
  const bound = 1 / Math.sqrt(144);
  expect(tf.max(tf.abs(filter)).dataSync()[0]).toBeLessThanOrEqual(bound);
  expect(tf.max(tf.abs(filter)).dataSync()[0]).toBeGreaterThan(0.98 * bound);
  for (const [name, weight] of Object.entries(weights))
    if (/norm/.test(name)) expect(new Set(weight.dataSync())).toEqual(new Set([name.endsWith('weight') ? 1 : 0]));
  const { logVariance } = posteriorOf(tf.tidy(() => encodeMoments(weights, config, images(2))));
  expect(tf.mean(logVariance).dataSync()[0]).toBeCloseTo(-6, 0);
  tf.dispose(weights as Record<string, tf.Tensor>);
  expect(autoencoderConfig(configJson(stableDiffusionConfig))).toEqual(stableDiffusionConfig);
});
