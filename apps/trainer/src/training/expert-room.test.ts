import { expect, test } from 'vitest';
import { ExpertRoom } from './expert-room.js';

test('room follows what is needed, in few sizes, and never exceeds the tokens', () => {
  const room = new ExpertRoom(256, 32);
  const sizes = new Set([room.rows]);
  for (let most = 32; most <= 256; most++) {
    if (!room.observe(most)) expect(room.rows).toBeGreaterThanOrEqual(most);
    expect(room.rows).toBeLessThanOrEqual(256);
    sizes.add(room.rows);
  }
  expect([...sizes]).toEqual([46, 64, 91, 128, 182, 256]);
  for (let step = 0; step < 1000; step++) expect(room.observe(33)).toBe(true);
  expect(room.rows).toBe(46);
});

test('one step that did not fit is enough to know what does', () => {
  for (const [tokens, mean] of [
    [12, 8],
    [1000, 333.3],
    [7, 7 / 3],
  ])
    for (let most = 1; most <= tokens; most++) {
      const room = new ExpertRoom(tokens, mean);
      if (!room.observe(most)) expect(room.observe(most)).toBe(true);
    }
});

test('a factor that was asked for stays', () => {
  const room = new ExpertRoom(100, 10, 1.5);
  expect([room.exact, room.rows, room.observe(90), room.rows]).toEqual([false, 15, false, 15]);
});
