import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Features, frechetDistanceOf } from '../src/index.js';
import {
  type Classifier,
  type Digits,
  expectedDistance,
  featuresOf,
  halves,
  imbalanced,
  readDigits,
  select,
  trainClassifier,
  withBlur,
  withNoise,
} from './digits-study.js';

let digits: Digits;
let classifier: Classifier;
let reference: Features;
let other: Int32Array;

beforeAll(async () => {
  await useTensorFlow();
  digits = await readDigits();
  classifier = trainClassifier(digits);
  const [first, second] = halves(digits, 0);
  reference = await featuresOf(classifier, select(digits, first));
  other = second;
});
afterAll(() => classifier.dispose());

const distance = async (pixels: Uint8Array): Promise<number> => frechetDistanceOf(await featuresOf(classifier, pixels), reference).distance;

test('the classifier knows the digits', () => {
  expect(digits.labels.length).toBeGreaterThan(1000);
  expect(classifier.accuracy).toBeGreaterThan(0.95);
});

test('halves of the real images are as far apart as chance says', async () => {
  const all = await featuresOf(classifier, digits.pixels);
  const expected = expectedDistance(all, other.length, 5);
  let mean = 0;
  for (let seed = 0; seed < 5; seed++) {
    const [a, b] = halves(digits, seed);
    mean +=
      frechetDistanceOf(await featuresOf(classifier, select(digits, a)), await featuresOf(classifier, select(digits, b))).distance / 5;
  }
  // Features are no Gaussians, so the two differ a little.
  expect(mean / expected).toBeGreaterThan(0.7);
  expect(mean / expected).toBeLessThan(1.4);
});

test.each([
  ['noise', [0, 30, 50, 80], (level: number) => withNoise(select(digits, other), level)],
  ['blur', [0, 0.5, 0.7, 1], (level: number) => withBlur(select(digits, other), level)],
  ['class imbalance', [0.5, 0.7, 0.85, 1], (level: number) => select(digits, imbalanced(digits, other, level))],
] as const)('the distance grows with %s', async (_, levels, changed) => {
  const distances: number[] = [];
  for (const level of levels) distances.push(await distance(changed(level)));
  for (let i = 1; i < distances.length; i++) expect(distances[i]).toBeGreaterThan(1.2 * distances[i - 1]);
});
