import { expect, test } from 'vitest';
import { adaptLabelTable, type LabelTable } from './label-table.js';

const table = (first: number, classNames: string[], nullLabel?: number): LabelTable & { data: Float32Array } => ({
  data: Float32Array.from({ length: 2 * (classNames.length + (nullLabel === undefined ? 0 : 1)) }, (_, i) => first + i),
  ...{ classNames, nullLabel },
});

test.each<[string, LabelTable, LabelTable & { data: Float32Array }, number[], RegExp]>([
  [
    'more classes',
    table(0, ['a', 'b'], 2),
    table(100, ['a', 'b', 'c'], 3),
    [0, 1, 2, 3, 104, 105, 4, 5],
    /3 classes, of which 2 keep .* kept/,
  ],
  ['fewer, in another order', table(0, ['a', 'b', 'c'], 3), table(100, ['c', 'a'], 2), [4, 5, 0, 1, 6, 7], /2 classes, of which 2 keep/],
  ['other classes', table(0, ['a', 'b'], 2), table(100, ['x'], 1), [100, 101, 4, 5], /made anew for 1 classes; .* kept/],
  [
    'none before',
    { data: undefined, classNames: [], nullLabel: undefined },
    table(100, ['x'], 1),
    [100, 101, 102, 103],
    /made anew .* is new/,
  ],
  ['no label for no class now', table(0, ['a'], 1), table(100, ['a', 'b']), [0, 1, 102, 103], /of which 1 keep .* is new/],
])('%s', (_, before, now, expected, what) => {
  const found = adaptLabelTable(before, now, 2);
  expect([...found.table]).toEqual(expected);
  expect(found.what).toMatch(what);
});
