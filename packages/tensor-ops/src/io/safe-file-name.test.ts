import path from 'node:path';
import { expect, test } from 'vitest';
import { safeFileName } from './index.js';

/** Names as class names, tensors' names and answers of servers may have them. */
const hostile = [
  ...['', '.', '..', '../../outside', '/etc/passwd', 'bus/truck', 'bus\\truck', 'C:\\x', 'c:x', '\\\\server\\share', '~/.ssh', 'a/../..'],
  ...['a\0b', 'a\nb', 'a\rb', '\x1b[31mred', 'x\x7f', 'con', 'NUL.txt', 'com1', 'a.', 'a ', ' a', '.hidden', '...', 'a:stream'],
  ...['*?<>|"', 'x'.repeat(1000), '雪'.repeat(300), '\u202egnp.exe', '\ud800', 'a\udc00', '%2e%2e%2f', '..%c0%af'],
];

test.each(hostile)('%j becomes the name of one file', (name) => {
  const safe = safeFileName(name);
  for (const { join, basename, dirname, sep } of [path.posix, path.win32]) {
    expect(basename(safe)).toBe(safe);
    expect(dirname(join('root', safe))).toBe('root');
    expect(safe).not.toContain(sep);
  }
  expect(safe).not.toMatch(/^\.|[. ]$|^(con|nul|com1)(\.|$)/i);
  expect(Buffer.byteLength(safe)).toBeLessThanOrEqual(200);
  expect(Buffer.from(safe).toString()).toBe(safe);
});

test('harmless names stay, and different names stay different', () => {
  for (const name of ['cat', 'tabby cat', 'n01440764', '雪', "St. Bernard's dog", 'a-b_c.d', '100% wool', 'naïve'])
    expect(safeFileName(name)).toBe(name);
  const all = [...hostile.filter((name) => Buffer.from(name).toString() === name), 'bus_truck', '_', '__', 'x'.repeat(999)];
  expect(new Set(all.map(safeFileName)).size).toBe(new Set(all).size);
});
