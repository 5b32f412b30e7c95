/**
 * Products in int8, for inference on processors that multiply bytes (VNNI). A weight has a scale for each output channel; a row gets one of
 * its own when it is multiplied, from its largest number. Products and their sums are integers, and exact.
 *
 * Elsewhere than on the TensorFlow runtime the integers are held as float32, whose sums are exact up to 2^24 (1,040 inputs of full range):
 * a reference to test against, which saves nothing.
 */
import * as tf from '@tensorflow/tfjs-core';
import { ArgumentError, DitMoeError } from '../errors.js';
import { DataType, type TensorFlowBackend, tensorFlowBackend } from '../tensorflow-backend.js';
import { customGradient } from './custom-gradient.js';
import { castTo, reshape } from './raw-math.js';

/** Largest integer of a row or a channel; -128 stays unused, so that signs are alike. */
const LARGEST = 127;
/** Below it a row counts as zero. */
const SMALLEST = 1e-30;

/** Rows in int8. */
export interface QuantizedRows {
  /** Integers within 127 of zero, `[N, D]`; on the TensorFlow runtime raw int8, elsewhere float32. */
  values: tf.Tensor;
  /** What each row is multiplied by, `[N, 1]`. */
  scale: tf.Tensor;
}

/** A matrix in int8 on the host. */
export interface QuantizedMatrix {
  values: Int8Array;
  /** What each output channel is multiplied by: the shape of the matrix without its axis of inputs. */
  scale: Float32Array;
}

/**
 * Why products in int8 are not to be had here, as the end of a sentence; `undefined` where they are.
 *
 * Processors without VNNI are left out because their kernels are slower than float32, and saturate.
 */
export function int8Refusal(): string | undefined {
  const backend = tensorFlowBackend();
  if (backend === undefined) return 'only the TensorFlow runtime multiplies in int8';
  if (backend.isUsingGpuDevice) return 'only CPUs multiply in int8, and this is a GPU';
  if (!backend.int8Products) return 'this processor has no instructions for int8 (VNNI)';
  try {
    tf.tidy(() => void int8Product(quantizeRows(tf.ones([1, 4])), int8Tensor(new Int8Array(16), [4, 4]), tf.ones([4])));
    return undefined;
  } catch (error) {
    if (!DitMoeError.isInstance(error)) throw error;
    return 'this build of TensorFlow has no kernel for it';
  }
}

/**
 * Quantizes matrices, each output channel by its largest number.
 * @param shape `[..., in, out]`
 */
export function quantizeMatrix(data: Float32Array, shape: readonly number[]): QuantizedMatrix {
  const [inputs, outputs] = shape.slice(-2);
  const matrices = data.length / (inputs * outputs);
  const values = new Int8Array(data.length);
  const scale = new Float32Array(matrices * outputs);
  for (let m = 0; m < matrices; m++) {
    const own = scale.subarray(m * outputs, (m + 1) * outputs);
    const [from, to] = [m * inputs * outputs, (m + 1) * inputs * outputs];
    for (let at = from; at < to; at += outputs)
      for (let o = 0; o < outputs; o++) {
        const size = Math.abs(data[at + o]);
        if (!(size <= own[o])) own[o] = size;
      }
    for (let o = 0; o < outputs; o++) own[o] = Math.max(own[o], SMALLEST) / LARGEST;
    for (let at = from; at < to; at += outputs) for (let o = 0; o < outputs; o++) values[at + o] = Math.round(data[at + o] / own[o]);
  }
  return { values, scale };
}

/**
 * The float32 matrices that int8 ones stand for.
 * @param shape `[..., in, out]`
 */
export function dequantizeMatrix({ values, scale }: QuantizedMatrix, shape: readonly number[]): Float32Array {
  const [inputs, outputs] = shape.slice(-2);
  const data = new Float32Array(values.length);
  for (let at = 0; at < data.length; at += outputs) {
    const matrix = Math.floor(at / (inputs * outputs));
    for (let o = 0; o < outputs; o++) data[at + o] = values[at + o] * scale[matrix * outputs + o];
  }
  return data;
}

/**
 * Integers on the device: raw int8 on the TensorFlow runtime, float32 elsewhere.
 * @param shape of as many numbers as there are values
 */
export function int8Tensor(values: Int8Array, shape: readonly number[]): tf.Tensor {
  const backend = tensorFlowBackend();
  if (backend === undefined) return tf.tensor(Float32Array.from(values), [...shape]);
  return tf.tidy(() => {
    // tfjs has no type for them: four at a time they go as int32, so that the host holds no wider copy.
    const words = Math.ceil(values.length / 4);
    const whole = values.length % 4 === 0 && values.byteOffset % 4 === 0;
    const bytes = whole ? values : new Int8Array(4 * words);
    if (!whole) bytes.set(values);
    const packed = tf.tensor1d(new Int32Array(bytes.buffer, bytes.byteOffset, words), 'int32');
    const unpacked = reshape(backend, bitcast(backend, packed, DataType.int8), [-1]);
    const own = whole ? unpacked : backend.raw('Slice', [unpacked, tf.tensor1d([0], 'int32'), tf.tensor1d([values.length], 'int32')])[0];
    return reshape(backend, own, shape);
  });
}

/**
 * Quantizes rows, each by its largest number; off the gradient tape.
 * @param x float32 `[N, D]`
 */
export function quantizeRows(x: tf.Tensor): QuantizedRows {
  // Both ends are two reads of the rows; their absolute values would be written, too.
  const largest = tf.maximum(tf.max(x, 1, true), tf.neg(tf.min(x, 1, true)));
  const scale = tf.div(tf.maximum(largest, SMALLEST), LARGEST); // [N, 1]
  const values = tf.round(tf.mul(x, tf.div(1, scale)));
  const backend = tensorFlowBackend();
  // Not by QuantizeV2, which a compiled step replaces by a kernel that scales to 128.
  return { values: backend === undefined ? values : castTo(backend, values, DataType.int8), scale };
}

/**
 * The product of rows and a matrix, both in int8; off the gradient tape.
 *
 * @param w integers `[D, H]`, see {@link int8Tensor}
 * @param scale of the output channels, `[H]`
 * @returns float32 `[N, H]`
 */
export const int8Product = (rows: QuantizedRows, w: tf.Tensor, scale: tf.Tensor): tf.Tensor =>
  tf.mul(int8Sums(rows.values, w, scale), rows.scale);

/** {@link int8Product} without what its rows are multiplied by. */
export function int8Sums(values: tf.Tensor, w: tf.Tensor, scale: tf.Tensor): tf.Tensor {
  const backend = tensorFlowBackend();
  if (backend === undefined) return tf.mul(tf.matMul(values as tf.Tensor2D, w as tf.Tensor2D), scale);
  const { qint8, float32 } = DataType;
  const most = tf.mul(scale, LARGEST);
  const inputs = [bitcast(backend, values, qint8), bitcast(backend, w, qint8), backend.raw('ZerosLike', [scale])[0]];
  const ranges = [tf.scalar(-LARGEST), tf.scalar(LARGEST), tf.neg(most), most];
  return backend.raw('_QuantizedMatMul', [...inputs, ...ranges], {
    ...{ T1: { type: qint8 }, T2: { type: qint8 }, Tbias: { type: float32 }, U: { type: float32 }, Tout: { type: float32 } },
    Tdevice_inputs: { types: [qint8, qint8, float32] },
    Thost_inputs: { types: [float32, float32, float32, float32] },
    Tdevice_outputs: { types: [float32] },
    Thost_outputs: { types: [] },
    // The kernel exists for no less than both, and takes the weight as it is faster than as a constant.
    fused_ops: { strings: ['BiasAdd', 'Dequantize'] },
    is_weight_const: { bool: false },
    is_bias_const: { bool: false },
  })[0];
}

/**
 * `compute(x)` for a layer with weights in int8, which are for inference: the gradient is refused.
 * @throws ArgumentError when a gradient with respect to `x` is asked for
 */
export function withoutGradient(x: tf.Tensor, compute: (x: tf.Tensor) => tf.Tensor): tf.Tensor {
  return customGradient(
    [x],
    ([x]) => ({ value: compute(x), saved: [] }),
    () => {
      throw new ArgumentError('weights in int8', 'inference, or weights in float32', 'a gradient');
    },
  );
}

/** The same bytes as another type. */
const bitcast = (backend: TensorFlowBackend, x: tf.Tensor, type: DataType): tf.Tensor =>
  backend.dtypeOf(x) === type ? x : backend.raw('Bitcast', [x], { type: { type } })[0];
