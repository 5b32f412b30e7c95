/** What this processor is good at, by the flags that Linux reads off it; elsewhere nothing is known. */
import fs from 'node:fs';

/**
 * Whether this processor multiplies bfloat16 matrices faster than float32 ones.
 *
 * AMX (Intel from Sapphire Rapids on) and AMD's AVX-512 units (from Zen 4 on: 734 against 213 GFLOP/s measured) do. Intel's
 * AVX-512 without AMX takes twice as long as for float32 (164 against 310 GFLOP/s), and emulation five times (62). What was not
 * measured counts as no: float32 is never wrong. Decided by the processor's flags, not by a stopwatch, so that runs repeat.
 */
export function hasFastBf16(cpuInfo = readCpuInfo()): boolean {
  const flags = flagsOf(cpuInfo);
  return flags.has('amx_bf16') || (flags.has('avx512_bf16') && /^vendor_id\s*:\s*AuthenticAMD$/m.test(cpuInfo));
}

/** Whether this processor sums products of bytes without saturating on the way (AVX-512 VNNI, AVX-VNNI, AMX). */
export function hasVnni(cpuInfo = readCpuInfo()): boolean {
  const flags = flagsOf(cpuInfo);
  return ['avx512_vnni', 'avx_vnni', 'amx_int8'].some((flag) => flags.has(flag));
}

const flagsOf = (cpuInfo: string): Set<string> => new Set(/^flags\s*:(.*)$/m.exec(cpuInfo)?.[1]?.trim().split(/\s+/));

/** Linux' description of the processor; empty elsewhere. */
function readCpuInfo(): string {
  try {
    return fs.readFileSync('/proc/cpuinfo', 'utf8');
  } catch {
    return '';
  }
}
