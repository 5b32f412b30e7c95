/** Choosing a dispatcher by what the machine was measured to do and the load that is expected. */
import { compile, tensorFlowBackend } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type DescribeLayerOptions, type DispatcherName, describeLayer, type LayerShape } from '../describe.js';
import { type Dispatcher, dense, padded, slices } from './grouping.js';

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

/** What the choice of a dispatcher is made by. */
export interface AutoOptions extends Pick<DescribeLayerOptions, 'training' | 'maxOverMean'> {
  /** From `measureDispatch` (default {@link REFERENCE_SPEED}, so that two runs choose alike without it). */
  speed?: DispatchSpeed;
}

/** The dispatchers that `auto` chooses from: all that drop nothing. */
const dropless = { slices, padded, dense } satisfies Partial<Record<DispatcherName, Dispatcher>>;

/**
 * The dropless dispatcher that should be fastest: fewest seconds of ops and products together. On WebGPU only `dense` is considered,
 * because the others read sizes to the host there.
 *
 * @param tokens in a batch
 * @param options `maxOverMean`, the load that is expected (as telemetry reports it); `training`; `speed`
 * @returns the name, and the estimated seconds of every candidate
 */
export function chooseDispatcher(
  layer: LayerShape,
  tokens: number,
  options: AutoOptions = {},
): { name: keyof typeof dropless; seconds: Partial<Record<keyof typeof dropless, number>> } {
  const { speed = REFERENCE_SPEED } = options;
  const costs = describeLayer(layer, tokens, options).dispatchers;
  const candidates = tf.getBackend() === 'webgpu' ? (['dense'] as const) : (['slices', 'padded', 'dense'] as const);
  const seconds: Partial<Record<keyof typeof dropless, number>> = {};
  for (const name of candidates)
    seconds[name] = costs[name].ops * speed.secondsPerOp + costs[name].flops / (name === 'slices' ? speed.sliceFlops : speed.batchFlops);
  const name = candidates.reduce<keyof typeof dropless>((best, next) => (seconds[next]! < seconds[best]! ? next : best), candidates[0]);
  return { name, seconds };
}

/**
 * The dispatcher that {@link chooseDispatcher} names for the layer and batch that it meets. It depends on sizes and options only, never
 * on the tokens or on a clock: the same call chooses alike in every run, and a compiled step keeps the choice of its recording.
 *
 * @param options as for `chooseDispatcher`; plans with a varying number of experts per token count as `expertsPerToken` (default 2)
 */
export const auto =
  ({ expertsPerToken = 2, ...options }: AutoOptions & { expertsPerToken?: number } = {}): Dispatcher =>
  (plan, experts) => {
    const { indices, numExperts, full } = plan;
    const [tokens, slots] = indices.shape as [number, number];
    const layer = { ...experts, numExperts, expertsPerToken: full ? slots : Math.min(expertsPerToken, slots) };
    return dropless[chooseDispatcher(layer, tokens, options).name](plan, experts);
  };

/**
 * Measures the current backend; takes a fraction of a second on a CPU. Not inside a compiled step.
 *
 * @param compiled whether layers will run inside compiled steps, where ops cost less (default true)
 */
export async function measureDispatch(compiled = true): Promise<DispatchSpeed> {
  const [few, many] = [tf.ones([8]), tf.ones([8, 256, 256])];
  const rows = tf.reshape(many, [2048, 256]) as tf.Tensor2D;
  const square = tf.ones([256, 256]) as tf.Tensor2D;
  // A chain, so that its ops run one after another; sines are not merged into each other by a compiler.
  const chain = (x: tf.Tensor): tf.Tensor => Array.from({ length: OPS }).reduce<tf.Tensor>((y) => tf.sin(y), x);
  const step = compile(chain);
  const flops = 2 * 2048 * 256 * 256;
  try {
    const op = compiled && tensorFlowBackend() !== undefined ? () => step.run(few) : async () => tf.tidy(() => chain(few));
    return {
      secondsPerOp: (await secondsOf(op)) / OPS,
      sliceFlops: flops / (await secondsOf(async () => tf.matMul(rows, square))),
      batchFlops: flops / (await secondsOf(async () => tf.matMul(many as tf.Tensor3D, many as tf.Tensor3D))),
    };
  } finally {
    step.dispose();
    tf.dispose([few, many, rows, square]);
  }
}

const OPS = 200;

/** Median of a few runs, each until its result can be read. */
async function secondsOf(operation: () => Promise<tf.Tensor>): Promise<number> {
  const times: number[] = [];
  for (let run = 0; run < 8; run++) {
    const start = performance.now();
    const result = await operation();
    await result.data();
    times.push((performance.now() - start) / 1000);
    result.dispose();
  }
  return times.slice(3).sort((a, b) => a - b)[2];
}
