/** Our numbers against the TensorFlow runtime's own counter-based generators. */
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type TensorFlowRuntime, useTensorFlow } from '../node/index.js';
import { DataType, tensorFlowBackend } from '../tensorflow-backend.js';
import { randomBits } from './distributions.js';
import { type RandomStream, randomNormal, randomUniform } from './index.js';
import { philoxKey } from './key.js';

let runtime: TensorFlowRuntime;
beforeAll(async () => {
  runtime = await useTensorFlow();
});
afterAll(() => runtime.shutdown());

/** Words, low first, as a uint64 tensor. */
const words64 = (words: readonly number[]): tf.Tensor =>
  tensorFlowBackend()!.raw('Bitcast', [tf.tensor2d(words as number[], [words.length / 2, 2], 'int32')], {
    type: { type: DataType.uint64 },
  })[0];

function onRuntime(op: string, { index, ...key }: RandomStream, length: number): tf.Tensor {
  const [counter, philox] = [words64([0, 0, index | 0, Math.floor(index / 2 ** 32)]), words64(philoxKey(key).map((w) => w | 0))];
  const dtype = op.includes('FullInt') ? DataType.uint32 : DataType.float32;
  const drawn = tensorFlowBackend()!.raw(op, [tf.tensor1d([length], 'int32'), philox, counter, tf.scalar(1, 'int32')], {
    dtype: { type: dtype },
  })[0];
  return dtype === DataType.uint32 ? tensorFlowBackend()!.raw('Bitcast', [drawn], { type: { type: DataType.int32 } })[0] : drawn;
}

const streams: RandomStream[] = [
  { seed: 0, purpose: 'noise', index: 0 },
  { seed: 42, purpose: 'train.noise', index: 7 },
  { seed: 2 ** 52 + 11, purpose: 'a purpose longer than one block of sixteen bytes', index: 2 ** 40 + 3 },
];

test.each(streams)('bits and uniforms are exactly those of TensorFlow, normals within 2e-6: %j', async (stream) => {
  const length = 5000;
  const bits = (await onRuntime('StatelessRandomUniformFullIntV2', stream, length).data()) as Int32Array;
  expect(new Uint32Array(bits.buffer, bits.byteOffset, length)).toEqual(randomBits(stream, length));
  expect(await onRuntime('StatelessRandomUniformV2', stream, length).data()).toEqual(randomUniform(stream, length));
  const [theirs, ours] = [
    (await onRuntime('StatelessRandomNormalV2', stream, length).data()) as Float32Array,
    randomNormal(stream, length),
  ];
  for (let i = 0; i < length; i++) expect(Math.abs(theirs[i] - ours[i]), `number ${i}`).toBeLessThanOrEqual(2e-6);
});
