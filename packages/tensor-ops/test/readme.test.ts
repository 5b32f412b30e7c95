/** The example of the README is the file beside this one, runs, and finds the weights. */
import fs from 'node:fs';
import { expect, test, vi } from 'vitest';

const text = (file: string): string => fs.readFileSync(new URL(file, import.meta.url), 'utf8');

test('the example of the README learns', async () => {
  expect(text('../README.md')).toContain(text('readme-example.ts'));
  const log = vi.spyOn(console, 'log').mockImplementation(() => {});
  await import('./readme-example.js');
  const lines = log.mock.calls;
  log.mockRestore();
  expect(lines.slice(0, -1).map(([step]) => step)).toEqual([0, 100, 200]);
  const [first, second] = lines.at(-1)![0] as Float32Array;
  expect([first, second]).toEqual([expect.closeTo(2, 2), expect.closeTo(-1, 2)]);
});
