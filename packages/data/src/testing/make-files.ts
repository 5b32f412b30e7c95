/** For tests: small files as people have them. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { pictureOf } from '../pictures/pixels.js';
import { encodePng } from '../pictures/png.js';

/** A picture of noise that `seed` determines. */
export function noise(seed: number, size = 16) {
  let state = seed * 2654435761 + 1;
  const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24;
  return pictureOf(
    Uint8Array.from({ length: 3 * size * size }, () => next()),
    size,
    size,
  );
}
export const png = (seed: number, size = 16): Uint8Array => encodePng(noise(seed, size));

/** Bytes of a 24-bit BMP. */
export function bmp(seed: number): Uint8Array {
  const { data, width, height } = noise(seed);
  const file = Buffer.alloc(54 + data.length);
  file.write('BM');
  file.writeUInt32LE(file.length, 2);
  file.writeUInt32LE(54, 10);
  file.writeUInt32LE(40, 14);
  file.writeInt32LE(width, 18);
  file.writeInt32LE(height, 22);
  file.writeUInt16LE(1, 26);
  file.writeUInt16LE(24, 28);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < 3; c++) file[54 + 3 * ((height - 1 - y) * width + x) + c] = data[3 * (y * width + x) + 2 - c];
  return file;
}

/** Writes files below a folder, by their names. */
export async function writeFiles(root: string, files: Readonly<Record<string, Uint8Array | string>>): Promise<string> {
  for (const [name, content] of Object.entries(files)) {
    await fs.mkdir(path.dirname(path.join(root, name)), { recursive: true });
    await fs.writeFile(path.join(root, name), content);
  }
  return root;
}

/** A tar archive (ustar). */
export function tar(members: readonly (readonly [name: string, content: Uint8Array | string])[]): Uint8Array {
  const blocks: Buffer[] = [];
  for (const [name, content] of members) {
    const bytes = Buffer.from(content as string);
    const header = Buffer.alloc(512);
    header.write(name, 0, 100, 'utf8');
    header.write('0000644\0'.padEnd(8), 100, 'latin1');
    header.write(`${bytes.length.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
    header.write('        ', 148, 'latin1');
    header.write('0', 156, 'latin1');
    header.write('ustar\x0000', 257, 'latin1');
    header.write(
      `${header
        .reduce((sum, byte) => sum + byte, 0)
        .toString(8)
        .padStart(6, '0')}\0 `,
      148,
      'latin1',
    );
    blocks.push(header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512));
  }
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}
