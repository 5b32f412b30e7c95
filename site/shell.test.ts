import { expect, test } from 'vitest';
import { commandLines } from './shell.js';

test('words, quotes, comments, continued lines and redirections', () => {
  expect(commandLines(`a b  # c\n\na 'b c' "d"e --x=#3 # f\na \\\n  b\na b && c d\na b > file\n# only this\n`)).toEqual([
    ['a', 'b'],
    ['a', 'b c', 'de', '--x=#3'],
    ['a', 'b'],
    ['a', 'b'],
    ['c', 'd'],
    ['a', 'b'],
  ]);
});
