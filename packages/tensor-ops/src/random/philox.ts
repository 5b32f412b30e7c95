/**
 * Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), as
 * TensorFlow's stateless ops use it with `alg = 1`.
 *
 * The two 32x32 -> 64 bit products of a round are made from 16-bit halves with `Math.imul`; that is faster in V8 than BigInt
 * (by far) and than rounding a double product.
 */

/** Multipliers and key increments of the paper; the multipliers also appear below as 16-bit halves. */
const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;

/** Four 32-bit words, least significant first. */
export type PhiloxCounter = readonly [number, number, number, number];
/** Two 32-bit words, least significant first. */
export type PhiloxKey = readonly [number, number];

/**
 * One block of Philox4x32-10: four random 32-bit words for a 128-bit counter and a 64-bit key.
 *
 * @param counter words 0 to 3, least significant first; only their low 32 bits count
 * @param key words 0 and 1, least significant first
 */
export function philox4x32(counter: PhiloxCounter, key: PhiloxKey): Uint32Array {
  const words = new Uint32Array(4);
  fillPhilox(words, key, counter);
  return words;
}

/**
 * Fills the first `length` entries of `words` (default all) with the blocks of consecutive counters, starting at `counter`.
 *
 * Word `4 * g + j` is word `j` of the block with the counter `counter + g` (its lower 64 bits are incremented; they must not
 * overflow). If the length is not a multiple of four, the rest of the last block is dropped.
 */
export function fillPhilox(words: Uint32Array, key: PhiloxKey, counter: PhiloxCounter, length = words.length): void {
  const full = length - (length % 4);
  fillBlocks(words, full, key[0] | 0, key[1] | 0, counter[0] | 0, counter[1] | 0, counter[2] | 0, counter[3] | 0);
  if (full === length) return;
  const low = (counter[0] >>> 0) + full / 4;
  const last = new Uint32Array(4);
  const carry = low >= 2 ** 32 ? 1 : 0;
  fillBlocks(last, 4, key[0] | 0, key[1] | 0, low | 0, (counter[1] + carry) | 0, counter[2] | 0, counter[3] | 0);
  words.set(last.subarray(0, length - full), full);
}

/** The inner loop, with int32 locals only so that it compiles to plain integer code. */
function fillBlocks(words: Uint32Array, length: number, key0: number, key1: number, c0: number, c1: number, c2: number, c3: number): void {
  for (let i = 0; i < length; i += 4) {
    let x0 = c0;
    let x1 = c1;
    let x2 = c2;
    let x3 = c3;
    let k0 = key0;
    let k1 = key1;
    for (let round = 0; round < 10; round++) {
      let low = x0 & 0xffff;
      let high = x0 >>> 16;
      let a = ((Math.imul(0x1f53, low) >>> 16) + Math.imul(0x1f53, high)) | 0;
      let b = Math.imul(0xd251, low);
      const high0 = (Math.imul(0xd251, high) + (a >>> 16) + (b >>> 16) + (((a & 0xffff) + (b & 0xffff)) >>> 16)) | 0;
      const low0 = Math.imul(MULTIPLIER_0, x0);
      low = x2 & 0xffff;
      high = x2 >>> 16;
      a = ((Math.imul(0x8d57, low) >>> 16) + Math.imul(0x8d57, high)) | 0;
      b = Math.imul(0xcd9e, low);
      const high1 = (Math.imul(0xcd9e, high) + (a >>> 16) + (b >>> 16) + (((a & 0xffff) + (b & 0xffff)) >>> 16)) | 0;
      const low1 = Math.imul(MULTIPLIER_1, x2);
      x0 = high1 ^ x1 ^ k0;
      x1 = low1;
      x2 = high0 ^ x3 ^ k1;
      x3 = low0;
      k0 = (k0 + WEYL_0) | 0;
      k1 = (k1 + WEYL_1) | 0;
    }
    words[i] = x0;
    words[i + 1] = x1;
    words[i + 2] = x2;
    words[i + 3] = x3;
    c0 = (c0 + 1) | 0;
    if (c0 === 0) c1 = (c1 + 1) | 0;
  }
}
