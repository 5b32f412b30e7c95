/** The same computation on the device and by the portable definitions in plain JavaScript, and how far apart they are. */
import * as tf from '@tensorflow/tfjs-core';
import { atMost, type Finding } from './finding.js';

/** Numbers by name. */
export type Numbers = Readonly<Record<string, ArrayLike<number>>>;

/** What computes the reference: tfjs' JavaScript backend, whose sums are float64, or WebAssembly where that takes minutes. */
export type Reference = 'cpu' | 'wasm';

/**
 * Largest relative differences by what multiplies: of float32 from the order of sums, of TF32 with its 10 bits and bfloat16 with its 7
 * through a few layers, of which every one rounds once or twice. In bfloat16 at most 0.029 was measured on an Intel processor with AVX-512 and
 * 0.048 on an AMD processor with AVX2 alone, which rounds at other places: 0.07 is for that one.
 */
const tolerances = { f32: 2e-5, tf32: 5e-3, bf16: 7e-2 } as const;
export type Multiplies = keyof typeof tolerances;

/** Root mean square of the difference over that of the reference; NaN where lengths differ or something is not finite. */
export function difference(a: ArrayLike<number>, reference: ArrayLike<number>): number {
  if (a.length !== reference.length) return Number.NaN;
  let [apart, size] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    apart += (a[i] - reference[i]) ** 2;
    size += reference[i] ** 2;
  }
  return apart === 0 ? 0 : Math.sqrt(apart / size);
}

/** Largest of the differences of all that was computed. */
export const largestDifference = (a: Numbers, reference: Numbers): number => {
  const each = Object.keys(reference).map((name) => difference(a[name] ?? [], reference[name]));
  return each.some(Number.isNaN) ? Number.NaN : Math.max(...each);
};

/**
 * Computes on the device and by the reference.
 * @param compute makes all its tensors and parameters anew, on the backend that is current
 */
export async function compare(
  name: string,
  multiplies: Multiplies,
  compute: () => Promise<Numbers>,
  reference: Reference = 'cpu',
): Promise<Finding> {
  const own = await on('tensorflow', compute);
  return atMost(name, largestDifference(own, await on(reference, compute)), tolerances[multiplies]);
}

async function on<T>(backend: 'tensorflow' | Reference, compute: () => Promise<T>): Promise<T> {
  await tf.setBackend(backend);
  try {
    return await compute();
  } finally {
    await tf.setBackend('tensorflow');
  }
}

/** Copies to the host, and disposes. */
export async function toHost(tensors: Readonly<Record<string, tf.Tensor>>): Promise<Record<string, Float32Array>> {
  const entries = Object.entries(tensors).map(async ([name, x]) => [name, (await x.data()) as Float32Array] as const);
  const numbers = Object.fromEntries(await Promise.all(entries));
  tf.dispose(Object.values(tensors));
  return numbers;
}

/** Several arrays as one, where some alone are zero but for rounding. */
export function joined(parts: readonly ArrayLike<number>[]): Float64Array {
  const all = new Float64Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
