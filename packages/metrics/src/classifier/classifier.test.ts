import { type Pixels, pictureOf, resize } from '@dit-moe/data';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { MetricError } from '../errors.js';
import { collectFeatures } from '../feature-extractor.js';
import { features } from '../features.js';
import { accuracy, classifierExtractor } from './extractor.js';
import { trainClassifier } from './train-classifier.js';

beforeAll(() => useTensorFlow());

const SIZE = 12;
/** Grey pictures with a bright stroke: level for label 0, upright for 1, at places that `seed` tells. */
function strokes(count: number, seed: number) {
  const labels = Array.from({ length: count }, (_, i) => i % 2);
  const data = new Uint8Array(count * SIZE * SIZE);
  for (let n = 0; n < count; n++) {
    const at = (seed + 7 * (n >> 1)) % (SIZE - 2);
    for (let i = 0; i < SIZE; i++)
      for (const thick of [0, 1]) {
        const [y, x] = labels[n] === 0 ? [at + thick, i] : [i, at + thick];
        data[(n * SIZE + y) * SIZE + x] = 150 + ((37 * n + 11 * i) % 100);
      }
  }
  return { images: { ...pictureOf(data, SIZE, SIZE, 1), count }, labels };
}
/** Grey pictures as RGB, enlarged or shrunk. */
function resizedBy(images: Pixels, factor: number): Pixels {
  const data = Uint8Array.from({ length: 3 * images.data.length }, (_, i) => images.data[Math.floor(i / 3)]);
  return resize({ ...images, data, channels: 3 }, factor * SIZE, factor * SIZE, 'box');
}
const config = { size: SIZE, classNames: ['level', 'upright'] };

test('learns to tell classes of images that it has not seen, the same for the same seed, and leaks nothing', async () => {
  const { images, labels } = strokes(96, 0);
  const held = strokes(40, 3);
  const before = tf.memory().numTensors;
  const train = () => trainClassifier(images, labels, config, { epochs: 8, batch: 16, seed: 4 });
  const [first, second] = [await train(), await train()];
  const extractor = classifierExtractor(first, config);
  const { features: found } = await collectFeatures([held.images], extractor.extract);
  expect(found.pool!.dimension).toBe(128);
  expect(accuracy(found.logits!, held.labels)).toBeGreaterThan(0.95);
  expect(await first.parameters['logits.weight'].data()).toEqual(await second.parameters['logits.weight'].data());
  // Larger pictures are seen at the judge's size; what has been enlarged is not what it knows.
  const larger = await collectFeatures([resizedBy(held.images, 2)], extractor.extract);
  expect(accuracy(larger.features.logits!, held.labels)).toBeGreaterThan(0.95);
  await expect(collectFeatures([resizedBy(held.images, 0.5)], extractor.extract)).rejects.toThrow(
    /pictures of 6 x 6 are smaller than its 12 x 12\. Train one for them: train-classifier IMAGES --size 6/,
  );
  extractor.dispose();
  for (const set of [first, second]) set.dispose();
  expect(tf.memory().numTensors).toBe(before);
});

test('accuracy counts the rows whose largest logit is the label', () => {
  const logits = features(Float32Array.of(1, 2, 3, /**/ 3, 2, 1, /**/ -1, 0, -2), 3);
  expect(accuracy(logits, [2, 0, 0])).toBeCloseTo(2 / 3, 12);
  expect(() => accuracy(logits, [1])).toThrow(MetricError);
});

describe('refuses', () => {
  const { images, labels } = strokes(4, 0);
  test.each([
    ['pictures of another size', images, labels, { ...config, size: 16 }, /expected pictures of 16 x 16, found 12 x 12/],
    ['a label of no class', images, [0, 1, 2, 0], config, /label 2 of picture 2 is none of 2 classes/],
    ['missing labels', images, [0, 1], config, /4 pictures have 2 labels/],
    ['a single class', images, [0, 0, 0, 0], { ...config, classNames: ['one'] }, /at least two classes/],
  ] as const)('%s', async (_, pictures, labels, config, message) => {
    await expect(trainClassifier(pictures, labels, config)).rejects.toThrow(message);
  });
});
