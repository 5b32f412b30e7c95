import { expect, test } from 'vitest';
import { crc32, crc32c } from './crc.js';

const check = new TextEncoder().encode('123456789');

test('the check values of the standards: of "123456789", and of RFC 3720', () => {
  expect(crc32(check)).toBe(0xcbf43926);
  expect(crc32c(check)).toBe(0xe3069283);
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
});

test('in parts as at once, wherever the parts meet', () => {
  for (let at = 0; at <= check.length; at++) expect(crc32(check.subarray(at), crc32(check.subarray(0, at)))).toBe(crc32(check));
});
