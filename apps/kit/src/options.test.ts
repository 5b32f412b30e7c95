import { expect, test } from 'vitest';
import { byteSize } from './options.js';

test('sizes have units, decimal or of two', () => {
  expect(['60MB', '60 MiB', '1gb', '1.5GiB', '512', '2kB'].map(byteSize)).toEqual([60e6, 60 * 2 ** 20, 1e9, 1.5 * 2 ** 30, 512, 2000]);
  for (const word of ['', '0', '-1MB', 'MB', '60 megabytes', '1e3', '0.1'])
    expect(() => byteSize(word), word).toThrow(/such as 60MB or 1GiB/);
});
