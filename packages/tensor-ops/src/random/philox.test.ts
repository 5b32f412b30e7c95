import { describe, expect, it } from 'vitest';
import { fillPhilox, type PhiloxCounter, type PhiloxKey, philox4x32 } from './philox.js';

/** Independent definition with BigInt. */
function reference(counter: PhiloxCounter, key: PhiloxKey): number[] {
  let [a, b, c, d] = counter.map(BigInt) as [bigint, bigint, bigint, bigint];
  let [k0, k1] = key.map(BigInt) as [bigint, bigint];
  const low = (x: bigint) => x & 0xffffffffn;
  for (let round = 0; round < 10; round++) {
    const p0 = 0xd2511f53n * a;
    const p1 = 0xcd9e8d57n * c;
    [a, b, c, d] = [(p1 >> 32n) ^ b ^ k0, low(p1), (p0 >> 32n) ^ d ^ k1, low(p0)];
    k0 = low(k0 + 0x9e3779b9n);
    k1 = low(k1 + 0xbb67ae85n);
  }
  return [a, b, c, d].map(Number);
}

describe('philox4x32', () => {
  it('gives the known answers of Random123', () => {
    const ones = 0xffffffff;
    expect([...philox4x32([0, 0, 0, 0], [0, 0])]).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    expect([...philox4x32([ones, ones, ones, ones], [ones, ones])]).toEqual([0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    expect([...philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])]).toEqual([
      0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1,
    ]);
  });

  it('equals a BigInt definition on many blocks', () => {
    let words = philox4x32([1, 2, 3, 4], [5, 6]);
    for (let i = 0; i < 3000; i++) {
      const counter: PhiloxCounter = [words[0], words[1], words[2], words[3]];
      const key: PhiloxKey = [words[3] ^ i ? words[2] : i, words[0]];
      const next = philox4x32(counter, key);
      expect([...next]).toEqual(reference(counter, key));
      words = next;
    }
  });

  it('carries from the low counter word and cuts the last block', () => {
    const words = new Uint32Array(10);
    fillPhilox(words, [7, 8], [0xfffffffe, 4, 9, 10]);
    const blocks = [
      [0xfffffffe, 4],
      [0xffffffff, 4],
      [0, 5],
    ].flatMap(([c0, c1]) => reference([c0, c1, 9, 10], [7, 8]));
    expect([...words]).toEqual(blocks.slice(0, 10));
  });
});
