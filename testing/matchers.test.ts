import { expect, test } from 'vitest';

const tensor = (values: number[], shape = [values.length]) => ({ shape, dataSync: () => values });

test('tensors are close by shape, by their largest number and where they are not finite', () => {
  expect(tensor([1, 2])).toBeCloseTensor(tensor([1, 2 + 1e-6]));
  expect(tensor([1, 200])).toBeCloseTensor(tensor([1 + 1e-4, 200]));
  expect(tensor([0.001])).not.toBeCloseTensor(tensor([0.002]));
  expect(tensor([1, 2])).not.toBeCloseTensor(tensor([1, 2], [2, 1]));
  expect(tensor([1, 2.1])).toBeCloseTensor(tensor([1, 2]), 0.1);
  expect(tensor([Number.NaN, Number.POSITIVE_INFINITY])).toBeCloseTensor(tensor([Number.NaN, Number.POSITIVE_INFINITY]));
  expect(tensor([Number.NaN])).not.toBeCloseTensor(tensor([1]));
  expect(tensor([1])).not.toBeCloseTensor(tensor([Number.NaN]));
  expect(tensor([1, Number.POSITIVE_INFINITY])).not.toBeCloseTensor(tensor([1, 5]));
  expect([0.001]).not.toBeCloseTensor([0.001 + 1e-8], 1e-6, 0);
  expect(new Float32Array([1, 2])).toBeCloseTensor(tensor([1, 2], [2, 1]));
  expect([1, 2]).not.toBeCloseTensor([1, 2, 3]);
  expect(() => expect(tensor([1, 3])).toBeCloseTensor(tensor([1, 2]))).toThrow(/entry 1: 3, expected 2/);
});
