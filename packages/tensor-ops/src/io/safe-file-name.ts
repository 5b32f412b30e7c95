/**
 * The one way from names that others chose (classes, tensors, models, answers of a server) to names of files: such a name never is a
 * path, whatever stands in it, and different names stay different.
 */
import { crc32 } from './crc.js';

/** Longest file name in UTF-8 bytes, its mark included; file systems take 255, and endings are added. */
const MAX_BYTES = 200;

/** What no file name may hold somewhere: separators, Windows' reserved characters, control characters, and what turns text around. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
const FORBIDDEN = /[/\\:*?"<>|\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]|\p{Surrogate}/gu;
/** Names that Windows keeps for devices, with any ending. */
const DEVICES = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i;

/**
 * `name` as the name of one file or folder. Harmless names of any script stay as they are; others get `_` for what is forbidden, no
 * dot or space at their ends, at most 200 bytes, and a checksum of the whole name behind them, so that `a/b` and `a_b` do not meet.
 */
export function safeFileName(name: string): string {
  const utf8 = new TextEncoder();
  let safe = name.replace(FORBIDDEN, '_').replace(/^[. ]+|[. ]+$/g, '_');
  if (DEVICES.test(safe)) safe = `_${safe}`;
  if (safe === name && safe !== '' && utf8.encode(safe).length <= MAX_BYTES) return safe;
  const mark = `-${crc32(utf8.encode(name)).toString(16).padStart(8, '0')}`;
  const characters = [...safe];
  while (utf8.encode(characters.join('')).length + mark.length > MAX_BYTES) characters.pop();
  return `${characters.join('').replace(/[. ]+$/, '')}${mark}`;
}
