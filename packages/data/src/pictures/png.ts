/** PNG files with text in them, such as the settings that a picture was made with; `fast-png` does the pixels. */
import { ArgumentError } from '@dit-moe/tensor-ops';
import { crc32 } from '@dit-moe/tensor-ops/io';
import { encode } from 'fast-png';
import type { Pixels } from './pixels.js';

/** Bytes of the last chunk, IEND. */
const END_BYTES = 12;

/**
 * A picture as a PNG file.
 * @param text notes by keyword (1 to 79 characters of Latin-1): as `tEXt` where they are Latin-1, else as `iTXt` in UTF-8
 * @throws ArgumentError if there is not exactly one picture
 */
export function encodePng({ data, count, width, height, channels }: Pixels, text: Readonly<Record<string, string>> = {}): Uint8Array {
  if (count !== 1) throw new ArgumentError('encodePng: pixels', 'one picture', `${count}`);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what a tEXt chunk may hold.
  const isLatin1 = ([, value]: [string, string]): boolean => /^[\x01-\xff]*$/.test(value);
  const entries = Object.entries(text);
  const png = encode({ data, width, height, channels, depth: 8, text: Object.fromEntries(entries.filter(isLatin1)) });
  const international = entries.filter((entry) => !isLatin1(entry)).map(([keyword, value]) => internationalText(keyword, value));
  if (international.length === 0) return png;
  const end = png.length - END_BYTES;
  const out = new Uint8Array(png.length + international.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const part of [png.subarray(0, end), ...international, png.subarray(end)]) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** An `iTXt` chunk, not compressed: keyword, 0, flags 0 0, no language 0, no translated keyword 0, text (PNG, 11.3.3.4). */
function internationalText(keyword: string, value: string): Uint8Array {
  const utf8 = new TextEncoder();
  const [name, content] = [utf8.encode(keyword), utf8.encode(value.replaceAll('\0', ''))];
  const chunk = new Uint8Array(4 + 4 + name.length + 5 + content.length + 4);
  const view = new DataView(chunk.buffer);
  view.setUint32(0, chunk.length - 12);
  chunk.set(utf8.encode('iTXt'), 4);
  chunk.set(name, 8);
  chunk.set(content, 8 + name.length + 5);
  view.setUint32(chunk.length - 4, crc32(chunk.subarray(4, chunk.length - 4)));
  return chunk;
}
