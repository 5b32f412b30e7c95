/** Matrices in int8, in files and on the device. */
import { ArgumentError, dequantizeMatrix, int8Tensor, Parameter, type QuantizedMatrix, quantizeMatrix } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { isInt8Matrix, scaleName } from '../weights.js';
import { type NamedArray, readFloats, type TensorFile } from './convert.js';

/** Shape of a matrix' scales: without its axis of inputs. */
export const scaleShape = (shape: readonly number[]): number[] => [...shape.slice(0, -2), shape.at(-1)!];

/** Whether a file holds a weight as integers. */
export const isStoredInt8 = (file: TensorFile, name: string): boolean =>
  isInt8Matrix(name) && file.names.includes(name) && file.info(name).dtype === 'I8';

/**
 * A weight that a file holds as integers, beside their scales.
 * @throws ArgumentError if they are not of the types that this project writes
 */
export async function readInt8(file: TensorFile, name: string, shape: readonly number[]): Promise<NamedArray> {
  const { data: values, dtype } = await file.read(name);
  if (!(values instanceof Int8Array)) throw new ArgumentError(name, 'integers of 8 bits', dtype);
  const quantized = { values, scale: await readFloats(file, scaleName(name)) };
  return {
    shape,
    quantized,
    get data() {
      return dequantizeMatrix(quantized, shape);
    },
  };
}

/** Weights as they come; `onWarning` hears once, in a sentence, that some are integers which are widened. */
export async function* widened(
  weights: AsyncIterable<[name: string, value: NamedArray]>,
  onWarning: (message: string) => void,
): AsyncGenerator<[name: string, value: NamedArray]> {
  let said = false;
  for await (const [name, weight] of weights) {
    if (weight.quantized !== undefined && !said)
      onWarning('The file holds int8 matrices, which become float32 with what rounding left of them.');
    said ||= weight.quantized !== undefined;
    yield [name, weight];
  }
}

/** A matrix as integers: as they come, or quantized now. */
export const quantizedOf = (weight: NamedArray): QuantizedMatrix => weight.quantized ?? quantizeMatrix(weight.data, weight.shape);

/** Puts a matrix and its scales on the device as integers. */
export function int8Parameters(name: string, weight: NamedArray): Record<string, Parameter> {
  const { values, scale } = quantizedOf(weight);
  const scales = scaleName(name);
  return {
    [name]: parameterOf(name, () => int8Tensor(values, weight.shape), 'int8'),
    [scales]: parameterOf(scales, () => tf.tensor(scale, scaleShape(weight.shape)), 'float32'),
  };
}

function parameterOf(name: string, make: () => tf.Tensor, dtype: 'int8' | 'float32'): Parameter {
  const value = make();
  try {
    return new Parameter(name, value, dtype);
  } finally {
    value.dispose();
  }
}
