import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import {
  adaptiveProjection,
  cfgZeroStar,
  checkGuidanceRule,
  extrapolate,
  flowPath,
  type GuidanceRule,
  parseGuidanceRule,
  rescaled,
} from '../index.js';

beforeAll(() => tf.setBackend('cpu'));

const [good, worse, x] = [1, 2, 3].map((seed) => tf.randomNormal([2, 6], 0, 1, 'float32', seed));
const joined = (rule: GuidanceRule, t = 0.5) => [...rule(good, worse, { scale: 3, x, level: flowPath('linear').level(t) }).dataSync()];

test.each<[string, GuidanceRule]>([
  ['cfg', extrapolate],
  ['cfg-zero', cfgZeroStar()],
  ['cfg-zero:zeroAbove=0.4', cfgZeroStar(0.4)],
  ['rescale', rescaled(0.7)],
  ['rescale:share=0.5', rescaled(0.5)],
  ['apg', adaptiveProjection()],
  ['apg: largest=0.2, parallel=0.3', adaptiveProjection({ largest: 0.2, parallel: 0.3 })],
])('%s', (text, expected) => {
  expect(joined(parseGuidanceRule(text))).toEqual(joined(expected));
});

test('adaptive projection works on what the model predicts, and frees what it remembers', () => {
  const before = tf.memory().numTensors;
  tf.tidy(() => {
    expect(joined(parseGuidanceRule('apg', 'noise'))).toEqual(joined(adaptiveProjection({ prediction: 'noise' })));
  });
  const rule = parseGuidanceRule('apg:momentum=-0.5');
  tf.tidy(() => joined(rule));
  expect(tf.memory().numTensors).toBe(before + 1);
  rule.dispose!();
  expect(tf.memory().numTensors).toBe(before);
});

test.each([
  ['agp', /guidance rule: .*Did you mean apg\?/],
  ['rescale:shar=0.5', /rescale.*Did you mean share\?/],
  ['rescale:share', /share: expected a number/],
  ['rescale:share=', /share: expected a number/],
  ['rescale:share=2', /share: expected a number in \[0, 1\]/],
  ['cfg:scale=2', /cfg: expected no numbers/],
  ['apg:largest=-1', /largest: expected a positive number/],
  ['', /guidance rule/],
])('"%s" is refused', (text, message) => {
  expect(() => parseGuidanceRule(text)).toThrow(message);
});

test('a rule has to fit model and solver', () => {
  const flow = { flow: true, evaluationsPerStep: 1 };
  for (const text of ['cfg', 'cfg-zero', 'apg:momentum=-0.5']) expect(() => checkGuidanceRule(text, flow)).not.toThrow();
  expect(() => checkGuidanceRule('cfg-zero', { ...flow, flow: false })).toThrow(/Gaussian/);
  expect(() => checkGuidanceRule('apg:momentum=-0.5', { ...flow, evaluationsPerStep: 2 })).toThrow(/momentum.*several evaluations/);
  expect(() => checkGuidanceRule('rescale:share=2', flow)).toThrow(/share/);
});
