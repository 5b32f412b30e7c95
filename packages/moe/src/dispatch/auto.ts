/** Choosing a dispatcher by what the machine was measured to do. */
import { tensorFlowBackend } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type DescribeOptions, type DispatcherName, describeLayer, type LayerShape } from '../describe.js';
import { capacity, type Dispatcher, dense, padded, slices } from './grouping.js';

/** What decides between dispatchers; from `measureDispatch` for the machine at hand. */
export interface DispatchSpeed {
  secondsPerOp: number;
  /** FLOPs per second of plain matrix products, as `slices` uses. */
  sliceFlops: number;
  /** FLOPs per second of batched products, as the others use. */
  batchFlops: number;
}

/** A rough estimate for a CPU of two cores and eager ops; plain products there are faster than batched ones. */
export const REFERENCE_SPEED: DispatchSpeed = { secondsPerOp: 1e-5, sliceFlops: 1.5e11, batchFlops: 1e11 };

const dispatchers: Record<DispatcherName, Dispatcher> = { slices, padded, capacity: capacity(), dense };

/**
 * The dropless dispatcher that should be fastest for a layer.
 *
 * @param tokens in a batch
 * @param options expected load and whether gradients are needed, as for `describeLayer`; `speed` (default {@link REFERENCE_SPEED}: a choice
 *   by measurement could differ between two runs, and with it the last bits of the result)
 */
export function chooseDispatcher(
  layer: LayerShape,
  tokens: number,
  options: DescribeOptions & { speed?: DispatchSpeed } = {},
): { name: DispatcherName; dispatcher: Dispatcher; seconds: Partial<Record<DispatcherName, number>> } {
  const { speed = REFERENCE_SPEED } = options;
  const costs = describeLayer(layer, tokens, options).dispatchers;
  // Off the runtime, slices and padded read sizes to the host, which WebGPU cannot do without stalling.
  const candidates: DispatcherName[] = tf.getBackend() === 'webgpu' ? ['dense'] : ['slices', 'padded', 'dense'];
  const seconds = Object.fromEntries(
    candidates.map((name) => {
      const { flops, ops } = costs[name];
      return [name, ops * speed.secondsPerOp + flops / (name === 'slices' ? speed.sliceFlops : speed.batchFlops)];
    }),
  ) as Partial<Record<DispatcherName, number>>;
  const name = candidates.reduce((best, candidate) => (seconds[candidate]! < seconds[best]! ? candidate : best));
  return { name, dispatcher: dispatchers[name], seconds };
}

/**
 * Measures the current backend in about a tenth of a second on a CPU. Not inside a compiled step.
 *
 * @param compiled whether layers will run inside compiled steps, where an op costs about a third (default true on the TensorFlow runtime)
 */
export async function measureDispatch(compiled = tensorFlowBackend() !== undefined): Promise<DispatchSpeed> {
  const timeOf = async (operation: () => tf.Tensor, repetitions: number): Promise<number> => {
    const run = async (count: number) => {
      const start = performance.now();
      for (let i = 0; i < count - 1; i++) operation().dispose();
      const last = operation();
      await last.data();
      last.dispose();
      return (performance.now() - start) / 1000 / count;
    };
    await run(2);
    const times = [await run(repetitions), await run(repetitions), await run(repetitions)];
    return times.sort((a, b) => a - b)[1]!;
  };
  const [few, many] = [tf.ones([8]), tf.ones([8, 256, 256])];
  const rows = tf.reshape(many, [2048, 256]) as tf.Tensor2D;
  const square = tf.ones([256, 256]) as tf.Tensor2D;
  const speed = {
    secondsPerOp: (await timeOf(() => tf.add(few, few), 200)) / (compiled ? 3 : 1),
    sliceFlops: (2 * 2048 * 256 * 256) / (await timeOf(() => tf.matMul(rows, square), 5)),
    batchFlops: (2 * 2048 * 256 * 256) / (await timeOf(() => tf.matMul(many as tf.Tensor3D, many as tf.Tensor3D), 5)),
  };
  tf.dispose([few, many, rows, square]);
  return speed;
}
