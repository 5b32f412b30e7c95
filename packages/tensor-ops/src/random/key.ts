/**
 * Which numbers a draw gets: the keying of all randomness.
 *
 * Philox key (64 bits) <- (seed, purpose). With P(counter, key) the Philox block and the UTF-8 bytes of the purpose, a byte 0x80
 * and zeros up to a multiple of 16 cut into blocks b1, b2, ... (four little-endian words each):
 * `k0 = [seed mod 2^32, floor(seed / 2^32)]`, `k_i = first two words of P(b_i, k_(i-1))`, and the last one is the key.
 *
 * Philox counter (128 bits): words 2 and 3 are the global sample index (low word first), words 0 and 1 count the groups of four
 * 32-bit words within the sample. In TensorFlow's terms: `key = uint64[1]`, `counter = uint64[2] = [0, index]`, `alg = 1`.
 *
 * Neither batch size, process rank nor backend enters, so that a sample keeps its numbers whatever computes it.
 */
import { ArgumentError } from '../errors.js';
import { type PhiloxCounter, type PhiloxKey, philox4x32 } from './philox.js';

/** One family of random numbers. */
export interface RandomKey {
  /** Integer in [0, 2^53). */
  seed: number;
  /** What the numbers are for, such as `train.noise`; different purposes are independent. A solver's step may be part of it. */
  purpose: string;
}

/** The random numbers of one sample. */
export interface RandomStream extends RandomKey {
  /** Global index of the sample, an integer in [0, 2^53): its position in the run or in the generated set, never in a batch. */
  index: number;
}

/**
 * The Philox key of `(seed, purpose)`, low word first; the layout is described at the top of this file.
 * @throws ArgumentError if the seed is not an integer in [0, 2^53)
 */
export function philoxKey({ seed, purpose }: RandomKey): PhiloxKey {
  checkIndex('random seed', seed);
  const text = new TextEncoder().encode(purpose);
  const padded = new Uint8Array(16 * Math.floor(text.length / 16 + 1));
  padded.set(text);
  padded[text.length] = 0x80;
  const view = new DataView(padded.buffer);
  let key: PhiloxKey = [seed >>> 0, Math.floor(seed / 2 ** 32)];
  for (let offset = 0; offset < padded.length; offset += 16) {
    const word = (i: number) => view.getUint32(offset + 4 * i, true);
    const [first, second] = philox4x32([word(0), word(1), word(2), word(3)], key);
    key = [first, second];
  }
  return key;
}

/**
 * The Philox counter at which the numbers of a sample start.
 *
 * @param index global sample index
 * @param group how many groups of four words to skip (default 0)
 * @throws ArgumentError if one is not an integer in [0, 2^53)
 */
export function philoxCounter(index: number, group = 0): PhiloxCounter {
  checkIndex('random sample index', index);
  checkIndex('random group', group);
  return [group >>> 0, Math.floor(group / 2 ** 32), index >>> 0, Math.floor(index / 2 ** 32)];
}

/** @throws ArgumentError unless `value` is an integer in [0, 2^53) */
export function checkIndex(what: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) throw new ArgumentError(what, 'an integer in [0, 2^53)', value);
}
