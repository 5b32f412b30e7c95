import { expect, test } from 'vitest';
import { hasFastBf16, hasVnni } from './processor.js';

const cpu = (vendor: string, flags: string) => `processor\t: 0\nvendor_id\t: ${vendor}\nflags\t\t: fpu ${flags} sse\n\nprocessor\t: 1\n`;

test.each([
  ['Intel with AMX', cpu('GenuineIntel', 'avx512_bf16 amx_bf16'), true],
  ['Intel without AMX', cpu('GenuineIntel', 'avx512f avx512_bf16'), false],
  ['AMD with AVX-512 BF16', cpu('AuthenticAMD', 'avx512f avx512_bf16'), true],
  ['AMD without', cpu('AuthenticAMD', 'avx2'), false],
  ['no description', '', false],
])('%s', (_, info, fast) => {
  expect(hasFastBf16(info)).toBe(fast);
});

test.each([
  ['AMD Zen 4', cpu('AuthenticAMD', 'avx512f avx512_vnni avx512_bf16'), true],
  ['Intel of the desktop', cpu('GenuineIntel', 'avx2 avx_vnni'), true],
  ['Skylake', cpu('GenuineIntel', 'avx2 avx512f'), false],
  ['no description', '', false],
])('VNNI: %s', (_, info, there) => {
  expect(hasVnni(info)).toBe(there);
});
