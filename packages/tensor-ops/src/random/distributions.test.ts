import { describe, expect, it } from 'vitest';
import { ArgumentError } from '../errors.js';
import { fillNormal, fillUniform, randomBits, randomIntegers, randomNormal, randomUniform } from './distributions.js';
import { philoxCounter, philoxKey } from './key.js';
import { fillPhilox, type PhiloxKey } from './philox.js';

/** TensorFlow 2.21 on a CPU: `Stateless...V2(alg=1, key=[0x123456789abcdef0], counter=[0, index])`. */
const tensorflow = {
  key: [0x9abcdef0, 0x12345678] as PhiloxKey,
  index: 7,
  bits: [3803110135, 729087593, 2601999116, 2917520603, 534538774, 848029543, 3220752498, 2629616893, 3830845768, 1668826308],
  uniform: [
    0.36605727672576904, 0.9140139818191528, 0.1824660301208496, 0.7955583333969116, 0.7219874858856201, 0.09299933910369873,
    0.9436171054840088, 0.47476160526275635, 0.6724023818969727, 0.939598560333252,
  ],
  normal: [
    -0.7292243242263794, 1.2157971858978271, -1.7694982290267944, 0.5208253860473633, 0.4452594518661499, 0.6732301712036133,
    0.05379963666200638, -0.33641523122787476, -0.3300700783729553, 0.827556848526001,
  ],
};
const stream = { seed: 42, purpose: 'test', index: 3 };

function moments(values: ArrayLike<number>): { mean: number; variance: number } {
  const n = values.length;
  let mean = 0;
  for (let i = 0; i < n; i++) mean += values[i] / n;
  let variance = 0;
  for (let i = 0; i < n; i++) variance += (values[i] - mean) ** 2 / n;
  return { mean, variance };
}

describe('the numbers of TensorFlow', () => {
  it('bits and uniforms exactly, normals within 2e-6', () => {
    const { key, index } = tensorflow;
    const bits = new Uint32Array(10);
    fillPhilox(bits, key, philoxCounter(index));
    expect([...bits]).toEqual(tensorflow.bits);
    const uniform = new Float32Array(10);
    fillUniform(uniform, key, index);
    expect([...uniform]).toEqual(tensorflow.uniform);
    const normal = new Float32Array(10);
    fillNormal(normal, key, index);
    for (let i = 0; i < 10; i++) expect(Math.abs(normal[i] - tensorflow.normal[i])).toBeLessThan(2e-6);
  });

  it('across the 32-bit carry of the group and with a wide index', () => {
    // The same key with counter = [2^32 - 1, 5 * 2^32 + 3].
    const words = new Uint32Array(9);
    fillPhilox(words, tensorflow.key, philoxCounter(5 * 2 ** 32 + 3, 2 ** 32 - 1));
    expect([...words]).toEqual([445884401, 830473640, 155374335, 3075042648, 1813578817, 3758676131, 392801495, 827140951, 1252266585]);
  });
});

describe('streams', () => {
  it('are prefixes of their longer selves, across chunks', () => {
    for (const draw of [randomBits, randomUniform, randomNormal, (s: typeof stream, n: number) => randomIntegers(s, n, 1000)]) {
      const long = draw(stream, 10_001);
      for (const n of [0, 1, 2, 3, 5, 4095, 4096, 4097, 8193]) expect(draw(stream, n)).toEqual(long.slice(0, n));
    }
  });

  it('differ by seed, purpose and index, also in their high words', () => {
    const others = [
      { ...stream, seed: 43 },
      { ...stream, seed: 42 + 2 ** 32 },
      { ...stream, seed: 2 ** 53 - 1 },
      { ...stream, purpose: 'tesT' },
      { ...stream, purpose: 'test\0' },
      { ...stream, purpose: '' },
      { ...stream, purpose: 'test, but longer than one block of sixteen bytes' },
      { ...stream, purpose: 'test, but longer than one block of sixteen byteS' },
      { ...stream, index: 4 },
      { ...stream, index: 3 + 2 ** 32 },
    ];
    const seen = new Set([stream, ...others].map((s) => randomBits(s, 4).join()));
    expect(seen.size).toBe(others.length + 1);
  });

  it('keep their numbers (the keying is part of the checkpoint contract)', () => {
    expect(philoxKey({ seed: 2 ** 40 + 5, purpose: 'train.noise' })).toEqual([357973884, 3573946144]);
  });

  it('have the moments of their distributions', () => {
    const n = 1_000_000;
    const normal = moments(randomNormal(stream, n));
    expect(Math.abs(normal.mean)).toBeLessThan(5 / Math.sqrt(n));
    expect(Math.abs(normal.variance - 1)).toBeLessThan(5 * Math.sqrt(2 / n));
    const uniform = moments(randomUniform(stream, n));
    expect(Math.abs(uniform.mean - 0.5)).toBeLessThan(5 * Math.sqrt(1 / 12 / n));
    expect(Math.abs(uniform.variance - 1 / 12)).toBeLessThan(1e-3);
  });

  it('refuse bad seeds, indices and lengths', () => {
    for (const seed of [-1, 0.5, 2 ** 53, Number.NaN]) expect(() => randomNormal({ ...stream, seed }, 1)).toThrow(ArgumentError);
    for (const index of [-1, 1.5, 2 ** 53]) expect(() => randomNormal({ ...stream, index }, 1)).toThrow(ArgumentError);
    expect(() => randomUniform(stream, -1)).toThrow(ArgumentError);
  });
});

describe('randomIntegers', () => {
  it('equals the exact product with rejection', () => {
    for (const below of [1, 2, 3, 10, 1000, 65_537, 3_000_000_000 / 2, 2 ** 31 - 1, 2 ** 31]) {
      const expected: number[] = [];
      for (const word of randomBits(stream, 4096)) {
        const product = BigInt(word) * BigInt(below);
        if ((product & 0xffffffffn) >= 2n ** 32n % BigInt(below)) expected.push(Number(product >> 32n));
      }
      const found = [...randomIntegers(stream, 1024, below)];
      expect(found).toEqual(expected.slice(0, 1024));
    }
  });

  it('is uniform (chi-square)', () => {
    const n = 200_000;
    const counts = new Float64Array(10);
    for (const value of randomIntegers(stream, n, 10)) counts[value]++;
    const chiSquare = counts.reduce((sum, count) => sum + (count - n / 10) ** 2 / (n / 10), 0);
    expect(chiSquare).toBeLessThan(27.9); // 99.9 % of 9 degrees of freedom
  });

  it('refuses an empty or too wide range', () => {
    for (const below of [0, -1, 1.5, 2 ** 31 + 1]) expect(() => randomIntegers(stream, 1, below)).toThrow(ArgumentError);
  });
});
