/** Bytes of an element by TensorFlow's data type; what is not here (resources, strings) is not counted. */
import { DataType } from '../../tensorflow-backend.js';

const elementBytes: Readonly<Record<number, number>> = {
  [DataType.float32]: 4,
  [DataType.float64]: 8,
  [DataType.int32]: 4,
  [DataType.uint8]: 1,
  [DataType.complex64]: 8,
  [DataType.int64]: 8,
  [DataType.bool]: 1,
  [DataType.bfloat16]: 2,
  [DataType.float16]: 2,
  [DataType.uint32]: 4,
  [DataType.uint64]: 8,
};

/** Number of elements of a shape. */
export const elements = (shape: readonly number[]): number => shape.reduce((product, n) => product * n, 1);

/** Bytes of a tensor. */
export const bytesOf = ({ dtype, shape }: { dtype: number; shape: readonly number[] }): number =>
  elements(shape) * (elementBytes[dtype] ?? 0);
