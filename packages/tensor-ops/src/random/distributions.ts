/**
 * Random numbers of one sample: bits, uniforms, normals, integers below n.
 *
 * Bits, uniforms and normals are those of TensorFlow's `StatelessRandomUniformFullIntV2` (uint32), `StatelessRandomUniformV2` and
 * `StatelessRandomNormalV2` with `alg = 1`, `key = philoxKey(stream)`, `counter = [0, index]`: the first two exactly, normals up to
 * the rounding of float32 `log`, `sin` and `cos` (within 2e-6). They are computed here on every backend, so they do not differ
 * between backends at all. Asking for more numbers never changes the first ones.
 */
import { ArgumentError } from '../errors.js';
import { checkIndex, philoxCounter, philoxKey, type RandomStream } from './key.js';
import { fillPhilox, type PhiloxKey } from './philox.js';

/** Words made at a time: small enough for the first-level cache, a multiple of four. */
const CHUNK = 4096;
const chunk = new Uint32Array(CHUNK);
/** TensorFlow keeps 23 bits of each word for a float32 in [0, 1). */
const MANTISSA = 0x7fffff;
const MANTISSA_UNIT = 2 ** -23;
/** Smallest argument of the logarithm, as in TensorFlow's Box-Muller transform. */
const EPSILON = Math.fround(1e-7);

/** `length` uniform 32-bit words. */
export function randomBits(stream: RandomStream, length: number): Uint32Array {
  checkIndex('randomBits length', length);
  const words = new Uint32Array(length);
  fillPhilox(words, philoxKey(stream), philoxCounter(stream.index));
  return words;
}

/** `length` float32 numbers uniform in [0, 1), multiples of 2^-23. */
export function randomUniform(stream: RandomStream, length: number): Float32Array {
  checkIndex('randomUniform length', length);
  const out = new Float32Array(length);
  fillUniform(out, philoxKey(stream), stream.index);
  return out;
}

/** `length` float32 numbers of the standard normal distribution. */
export function randomNormal(stream: RandomStream, length: number): Float32Array {
  checkIndex('randomNormal length', length);
  const out = new Float32Array(length);
  fillNormal(out, philoxKey(stream), stream.index);
  return out;
}

/**
 * `length` integers uniform in [0, below), without bias: Lemire, "Fast random integer generation in an interval" (2019), with
 * rejected words replaced by the next ones of the same sample.
 *
 * @param below integer in [1, 2^31]
 */
export function randomIntegers(stream: RandomStream, length: number, below: number): Int32Array {
  checkIndex('randomIntegers length', length);
  const out = new Int32Array(length);
  fillIntegers(out, philoxKey(stream), stream.index, below);
  return out;
}

/** Fills `out` with the uniforms of one sample. */
export function fillUniform(out: Float32Array, key: PhiloxKey, index: number): void {
  for (let start = 0; start < out.length; start += CHUNK) {
    const length = Math.min(CHUNK, out.length - start);
    fillPhilox(chunk, key, philoxCounter(index, start / 4), length);
    for (let i = 0; i < length; i++) out[start + i] = (chunk[i] & MANTISSA) * MANTISSA_UNIT;
  }
}

/** Fills `out` with the normals of one sample. */
export function fillNormal(out: Float32Array, key: PhiloxKey, index: number): void {
  for (let start = 0; start < out.length; start += CHUNK) {
    const length = Math.min(CHUNK, out.length - start);
    // An odd length needs the second word of its last pair, too.
    fillPhilox(chunk, key, philoxCounter(index, start / 4), length + (length % 2));
    for (let i = 0; i < length; i += 2) {
      const u = (chunk[i] & MANTISSA) * MANTISSA_UNIT;
      const radius = Math.sqrt(-2 * Math.log(Math.max(u, EPSILON)));
      // TensorFlow rounds the angle to float32; unrounded it would be off by up to 1.4e-6 times the radius' share.
      const angle = Math.fround(2 * Math.PI * ((chunk[i + 1] & MANTISSA) * MANTISSA_UNIT));
      out[start + i] = Math.sin(angle) * radius;
      if (i + 1 < length) out[start + i + 1] = Math.cos(angle) * radius;
    }
  }
}

/** Fills `out` with the integers below `below` of one sample. */
export function fillIntegers(out: Int32Array, key: PhiloxKey, index: number, below: number): void {
  if (!Number.isInteger(below) || below < 1 || below > 2 ** 31)
    throw new ArgumentError('randomIntegers below', 'an integer in [1, 2^31]', below);
  const rejectedBelow = 2 ** 32 % below;
  let group = 0;
  for (let filled = 0; filled < out.length; ) {
    const length = Math.min(CHUNK, 4 * Math.ceil((out.length - filled) / 4));
    fillPhilox(chunk, key, philoxCounter(index, group), length);
    group += length / 4;
    for (let i = 0; i < length && filled < out.length; i++) {
      const word = chunk[i];
      // word * below = quotient * 2^32 + remainder needs 63 bits: multiply the 16-bit halves of the word.
      const upper = (word >>> 16) * below;
      const lower = (word & 0xffff) * below + (upper % 65536) * 65536;
      const remainder = lower % 2 ** 32;
      if (remainder < rejectedBelow) continue;
      out[filled++] = Math.floor(upper / 65536) + Math.floor(lower / 2 ** 32);
    }
  }
}
