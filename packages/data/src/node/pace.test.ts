import { expect, test } from 'vitest';
import { sortedInTurns } from './pace.js';

test('sorts as sort does', async () => {
  const items = Array.from({ length: 20_000 }, (_, i) => ({ key: (i * 7919) % 97, i }));
  const compare = (a: { key: number }, b: { key: number }): number => a.key - b.key;
  expect(await sortedInTurns(items, compare)).toEqual([...items].sort(compare));
  for (const few of [[], [1], [2, 1]]) expect(await sortedInTurns(few, (a, b) => a - b)).toEqual([...few].sort());
});

test('timers run meanwhile', async () => {
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  // Three blocks in order already, of which each takes some 60 ms.
  const slow = (a: number, b: number): number => {
    const until = performance.now() + 0.015;
    while (performance.now() < until);
    return a - b;
  };
  await sortedInTurns(
    Array.from({ length: 12_000 }, (_, i) => i),
    slow,
  );
  clearInterval(timer);
  expect(turns).toBeGreaterThan(2);
});
