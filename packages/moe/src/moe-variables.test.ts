import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { moe, moeVariables } from './index.js';
import { fill } from './testing/fill.js';

beforeAll(async () => void (await tf.setBackend('cpu')));

const variablesOf = (container: object): tf.Variable[] =>
  Object.values(container).flatMap((value) =>
    value instanceof tf.Variable ? [value] : typeof value === 'object' ? variablesOf(value) : [],
  );

test.each(['swiglu', 'gelu'] as const)('weights of %s experts fit the layer, repeat by seed, and all of them learn', (kind) => {
  const shape = { width: 6, hidden: 8, numExperts: 4, kind, sharedHidden: 3 };
  const before = tf.memory().numTensors;
  const [weights, again, other] = [moeVariables(shape), moeVariables(shape, 0), moeVariables(shape, 1)];
  const values = (from: typeof weights) => variablesOf(from).map((v) => Array.from(v.dataSync()));
  expect(values(weights)).toEqual(values(again));
  expect(values(weights)).not.toEqual(values(other));
  for (const row of values(weights)) {
    const limit = row === values(weights)[0] ? 1 / Math.sqrt(6) : 1;
    expect(Math.max(...row.map(Math.abs))).toBeLessThan(limit);
    expect(Math.abs(row.reduce((a, b) => a + b) / row.length)).toBeLessThan(0.2);
  }

  const start = values(weights);
  const optimizer = tf.train.sgd(0.1);
  // The number of experts is that of the weights.
  optimizer.minimize(
    () => {
      const { output, losses } = moe(fill([16, 6], 1), weights, { topK: 2 });
      return tf.add(tf.mean(tf.square(tf.sub(output, 1))), losses['balance']) as tf.Scalar;
    },
    false,
    variablesOf(weights),
  );
  values(weights).forEach((row, i) => {
    expect(row).not.toEqual(start[i]);
  });
  optimizer.dispose();
  tf.dispose([weights, again, other].flatMap(variablesOf));
  expect(tf.memory().numTensors).toBeLessThanOrEqual(before + 1);
  expect(() => moeVariables({ ...shape, hidden: 0 })).toThrow(/hidden/);
});
