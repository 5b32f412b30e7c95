import { expect, test } from 'vitest';
import { undescribed } from '../../../testing/undescribed.js';
import { parseSampleSettings, sampleSettings } from './index.js';

test('settings of a sampling: what is left out stays so, words and ranges are checked, unknown fields are named', () => {
  expect(parseSampleSettings({})).toEqual({});
  const given = { solver: 'dpm++2m', steps: 20, grid: 'karras', guidance: 3, interval: [0.1, 0.8], seed: 4, clip: true };
  expect(parseSampleSettings(given)).toEqual(given);
  expect(() => parseSampleSettings({ solver: 'eular' })).toThrow('Did you mean euler?');
  expect(() => parseSampleSettings({ solver: 'constructor' })).toThrow(/solver: expected euler/);
  expect(() => parseSampleSettings({ guidence: 2 })).toThrow('Did you mean guidance?');
  expect(() => parseSampleSettings({ interval: [0.8, 2] })).toThrow(/interval\[1\]: expected a number from 0 to 1/);
});

test('every setting has a description', () => {
  expect(undescribed(sampleSettings.schema)).toEqual([]);
});
