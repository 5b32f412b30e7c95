import * as tf from '@tensorflow/tfjs';
import { expect, test } from 'vitest';
import { MissingWeightError, scoped } from './scoped.js';

test('weights are read by their names within a part, and a missing one is named in full', async () => {
  await tf.setBackend('cpu');
  const weights = { 'blocks.1.mlp.weight': tf.scalar(1), 'blocks.1.mlp.bias': tf.scalar(2), table: tf.scalar(3) };
  const block = scoped(weights, 'blocks.1');
  expect(block('mlp.weight')).toBe(weights['blocks.1.mlp.weight']);
  expect(block.within('mlp')('bias')).toBe(weights['blocks.1.mlp.bias']);
  expect(block.within('mlp').all()).toEqual({ weight: weights['blocks.1.mlp.weight'], bias: weights['blocks.1.mlp.bias'] });
  expect(scoped(weights).all()).toEqual(weights);
  expect(scoped(block, 'mlp').find('scale')).toBeUndefined();
  expect(scoped(weights)('table')).toBe(weights.table);
  const missing = () => block('mlp.scale');
  expect(missing).toThrow(MissingWeightError);
  expect(missing).toThrow('The weight blocks.1.mlp.scale is missing; there are beside it: blocks.1.mlp.weight, blocks.1.mlp.bias.');
  expect(() => scoped({})('table')).toThrow('The weight table is missing; there are 0 other weights.');
});
