import { expect, test } from 'vitest';
import { jsonSchema } from '../config/schema.js';
import { meantSearch, searchSettings } from './config-search.js';

const paths = (text: string): string[] => searchSettings(jsonSchema(), text).map(({ path }) => path);

test('settings are found by name and by what they are about', () => {
  expect(paths('learning rate')[0]).toBe('optimizer.learningRate');
  expect(paths('learningrate')[0]).toBe('optimizer.learningRate');
  expect(paths('hidden')).toContain('model.hiddenSize');
  expect(paths('EXIF orientation')).toEqual(['data.applyOrientation']);
  expect(paths('no such thing as this')).toEqual([]);
  expect(searchSettings(jsonSchema(), 'prefetch')).toEqual([
    { path: 'data.prefetch', description: expect.stringContaining('ahead of the step'), default: 2 },
  ]);
});

test('words that are misspelt lead to those that are meant', () => {
  expect(meantSearch(jsonSchema(), 'lerning rate')).toBe('learning rate');
  expect(meantSearch(jsonSchema(), 'warmpu')).toBe('warmup');
  expect(meantSearch(jsonSchema(), 'xyzzy')).toBeUndefined();
});

test('every setting with a description is found by its path', () => {
  const all = searchSettings(jsonSchema(), '');
  expect(all.length).toBeGreaterThan(60);
  for (const { path } of all) expect(paths(path)).toContain(path);
});
