import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { randomIntegersBatch, randomNormalBatch, randomUniformBatch } from './batch.js';
import { randomIntegers, randomNormal, randomUniform } from './distributions.js';

beforeAll(() => tf.setBackend('cpu'));

describe('batches', () => {
  const key = { seed: 1, purpose: 'noise' };

  it('hold the numbers of each sample, whatever else is in the batch', () => {
    const indices = [5, 2 ** 33, 0];
    const normal = randomNormalBatch({ ...key, indices }, [2, 3, 1]);
    const uniform = randomUniformBatch({ ...key, indices }, []);
    const integers = randomIntegersBatch({ ...key, indices }, [4], 10);
    expect([normal.shape, uniform.shape, integers.shape]).toEqual([[3, 2, 3, 1], [3], [3, 4]]);
    expect([normal.dtype, uniform.dtype, integers.dtype]).toEqual(['float32', 'float32', 'int32']);
    indices.forEach((index, b) => {
      expect(normal.dataSync().slice(6 * b, 6 * b + 6)).toEqual(randomNormal({ ...key, index }, 6));
      expect(uniform.dataSync().slice(b, b + 1)).toEqual(randomUniform({ ...key, index }, 1));
      expect(integers.dataSync().slice(4 * b, 4 * b + 4)).toEqual(randomIntegers({ ...key, index }, 4, 10));
    });
    tf.dispose([normal, uniform, integers]);
  });

  it('may be empty', () => {
    const empty = randomNormalBatch({ ...key, indices: [] }, [2]);
    expect(empty.shape).toEqual([0, 2]);
    empty.dispose();
  });
});
