import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bincount, mean, tensorFlowBackend } from '../../index.js';
import { differingNodes, type TensorFlowRuntime, useTensorFlow } from '../index.js';

let runtime: TensorFlowRuntime;
beforeAll(async () => {
  runtime = await useTensorFlow();
});
afterAll(() => runtime.shutdown());

/** The rows of label 0. */
const rowsOfFirst = (x: tf.Tensor, labels: tf.Tensor): tf.Tensor =>
  tensorFlowBackend()!.raw('SplitV', [x, bincount(labels, 3), tf.scalar(0, 'int32')], { num_split: { int: 3 } }, 3)[0];
const inputs = (): [tf.Tensor, tf.Tensor] => [tf.ones([12, 2]), tf.tensor1d([0, 0, 1, 2, 2, 2, 0, 0, 1, 2, 2, 2], 'int32')];

test('a step whose ops follow the data has no node that differs', () => {
  const step = (x: tf.Tensor, labels: tf.Tensor) => [tf.matMul(rowsOfFirst(x, labels) as tf.Tensor2D, tf.ones([2, 4])), x];
  expect(differingNodes(step, inputs())).toEqual([]);
});

test.each([
  ['a mean by the number of rows', (rows: tf.Tensor) => tf.div(tf.sum(rows), rows.shape[0]), /Const.*12.*\b4\b|4.*12/],
  ['a shape', (rows: tf.Tensor) => tf.reshape(rows, [rows.shape[0] * 2]), /\[1\] 8 with .*\[1\] 24 with/],
  ["the gradient of tfjs' mean", (rows: tf.Tensor) => tf.grad((r: tf.Tensor) => tf.mean(r))(rows), /node/],
])('%s is found', (_, use, line) => {
  const found = differingNodes((x: tf.Tensor, labels: tf.Tensor) => use(rowsOfFirst(x, labels)), inputs());
  expect(found.length).toBeGreaterThan(0);
  expect(found.join('\n')).toMatch(line);
});

test('is for the TensorFlow runtime', () => {
  void tf.setBackend('cpu');
  expect(() => differingNodes((x: tf.Tensor) => mean(x, 0), [tf.ones([2])])).toThrow(/TensorFlow runtime/);
  void tf.setBackend('tensorflow');
});
