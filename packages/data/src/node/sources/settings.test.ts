import { expect, test } from 'vitest';
import { undescribed } from '../../../../../testing/undescribed.js';
import { imageSettings } from '../index.js';
import { parseImageSettings } from './settings.js';

test('how images are read: words are checked, unknown fields are named, what is left out stays so', () => {
  expect(parseImageSettings({})).toEqual({});
  expect(parseImageSettings({ labels: 'names', split: 'train' })).toEqual({ labels: 'names', split: 'train' });
  expect(() => parseImageSettings({ labels: 'name' })).toThrow(/labels: expected auto.* Did you mean names\?/);
  expect(() => parseImageSettings({ imageColum: 'x' })).toThrow('Did you mean imageColumn?');
});

test('every setting has a description', () => {
  expect(undescribed(imageSettings.schema)).toEqual([]);
});
