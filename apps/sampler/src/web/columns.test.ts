import { expect, test } from 'vitest';
import { columnsThatFit } from './columns.js';

test('images are as large as fit into the window, and never too small to be seen', () => {
  // One that filled the width would be higher than the window.
  expect(columnsThatFit(1, 1000, 600)).toBe(2);
  expect(columnsThatFit(10, 1040, 600)).toBe(5);
  expect(columnsThatFit(10, 1040, 300)).toBe(8);
  // Whatever the height, a phone shows three beside each other and scrolls.
  expect(columnsThatFit(64, 340, 500)).toBe(3);
  expect(columnsThatFit(3, 60, 500)).toBe(1);
});
