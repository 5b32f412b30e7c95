import { expect, test } from 'vitest';
import { painted } from './start.js';

test('paint covers a round place, keeps what was painted before, and leaves the given mask alone', () => {
  const empty = { width: 5, height: 4, data: new Uint8Array(20) };
  const rows = ({ data }: { data: Uint8Array }) =>
    [0, 1, 2, 3].map((row) => [...data.subarray(5 * row, 5 * row + 5)].map((v) => (v === 255 ? '#' : '.')).join(''));
  const once = painted(empty, 1.5, 1.5, 1.1);
  expect(rows(once)).toEqual(['.#...', '###..', '.#...', '.....']);
  expect(rows(painted(once, 5, 4, 1))).toEqual(['.#...', '###..', '.#...', '....#']);
  expect(rows(empty)).toEqual(Array(4).fill('.....'));
});
