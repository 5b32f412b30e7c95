import { expect, test } from 'vitest';
import { roundToHalf } from './half.js';

test('float16: every representable value stays, halfway cases go to even, overflow is infinite', () => {
  for (let exponent = -14; exponent <= 15; exponent++) {
    for (let mantissa = 0; mantissa < 1024; mantissa += 31) {
      const value = (1 + mantissa / 1024) * 2 ** exponent;
      const spacing = 2 ** (exponent - 10);
      if (value + spacing > 65504) continue;
      expect(roundToHalf(value)).toBe(value);
      expect(roundToHalf(-value)).toBe(-value);
      expect(roundToHalf(value + spacing * 0.49)).toBe(value);
      expect(roundToHalf(value + spacing * 0.5)).toBe(mantissa % 2 === 0 ? value : value + spacing);
      expect(roundToHalf(value + spacing * 0.51)).toBe(value + spacing);
    }
  }
  expect([65504, 65519.9, 65520, -65520].map(roundToHalf)).toEqual([65504, 65504, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]);
  expect([2 ** -24, 2 ** -25, 3 * 2 ** -25, 0.9 * 2 ** -24].map(roundToHalf)).toEqual([2 ** -24, 0, 2 ** -23, 2 ** -24]);
  expect(roundToHalf(Number.NaN)).toBeNaN();
});
