import fs from 'node:fs/promises';
import sharp from 'sharp';
import { beforeAll, describe, expect, test } from 'vitest';
import loadWabt from 'wabt';
import { centerCrop, flipped, type Pixels, pictureOf, randomCrop, randomFlip, resize } from '../../index.js';
import { RESAMPLE_WASM } from '../../pictures/resample-wasm.js';
import { decodeImage, ImageError, preprocessImage } from '../index.js';
import { PixelBudget } from './pixel-budget.js';

/** A picture of a smooth pattern. */
const pattern = (width: number, height: number): Pixels =>
  pictureOf(
    Uint8Array.from({ length: 3 * width * height }, (_, i) => {
      const [x, y] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width)];
      return 127 + 120 * Math.sin(x / 9 + (i % 3)) * Math.cos(y / 7);
    }),
    width,
    height,
  );
const encode = ({ data, width, height }: Pixels) => sharp(data, { raw: { width, height, channels: 3 } });

describe('crops', () => {
  test('the WebAssembly module is that of its source', async () => {
    const folder = new URL('../../pictures/', import.meta.url);
    const module = (await loadWabt()).parseWat('resample.wat', await fs.readFile(new URL('resample.wat', folder), 'utf8'), { simd: true });
    expect(Buffer.from(module.toBinary({}).buffer).toString('base64')).toBe(RESAMPLE_WASM);
  });

  test('bicubic weights are those of the formula, to the bit', () => {
    const picture = pattern(23, 1);
    const [from, to] = [23, 9];
    const kernel = (x: number) => (x < 1 ? 1.5 * x ** 3 - 2.5 * x ** 2 + 1 : x < 2 ? -0.5 * x ** 3 + 2.5 * x ** 2 - 4 * x + 2 : 0);
    const row = resize(picture, to, 1, 'bicubic').data;
    for (let o = 0; o < to; o++) {
      const scale = from / to;
      const w = Array.from({ length: from }, (_, i) => kernel(Math.abs((i + 0.5 - (o + 0.5) * scale) / scale)));
      const sum = w.reduce((a, b) => a + b, 0);
      for (let c = 0; c < 3; c++) {
        const exact = w.reduce((total, v, i) => total + (v / sum) * picture.data[3 * i + c], 0);
        expect(Math.abs(row[3 * o + c] - Math.min(255, Math.max(0, exact)))).toBeLessThan(0.5001);
      }
    }
  });

  test("Pillow's bicubic, to the pixel", () => {
    // PIL.Image.fromarray(numpy.arange(64, dtype=uint8).reshape(8, 8) * 4 % 251).resize((5, 3), BICUBIC)
    const grey = Uint8Array.from({ length: 64 }, (_, i) => (i * 4) % 251);
    const { data } = resize(
      pictureOf(
        Uint8Array.from({ length: 192 }, (_, i) => grey[Math.floor(i / 3)]),
        8,
        8,
      ),
      5,
      3,
      'bicubic',
    );
    expect([...data.filter((_, i) => i % 3 === 0)]).toEqual([30, 37, 43, 49, 56, 113, 120, 126, 132, 143, 196, 203, 209, 219, 172]);
  });

  test('a constant picture stays constant under every filter and size', () => {
    const flat = pictureOf(new Uint8Array(3 * 37 * 29).fill(201), 37, 29);
    for (const filter of ['box', 'bicubic'] as const)
      for (const [width, height] of [
        [5, 80],
        [37, 3],
        [64, 29],
      ] as const)
        expect(new Set(resize(flat, width, height, filter).data)).toEqual(new Set([201]));
  });

  test('a window is the same part of the whole', () => {
    const picture = pattern(50, 41);
    const whole = resize(picture, 31, 33, 'bicubic');
    const window = { left: 4, top: 7, width: 20, height: 11 };
    const part = resize(picture, 31, 33, 'bicubic', window);
    for (let y = 0; y < window.height; y++) {
      const start = 3 * ((y + window.top) * 31 + window.left);
      expect(part.data.subarray(3 * 20 * y, 3 * 20 * (y + 1))).toEqual(whole.data.subarray(start, start + 60));
    }
  });

  test('random crops depend on seed and index only, and stay inside', () => {
    const picture = pattern(100, 70);
    const crops = Array.from({ length: 20 }, (_, index) => randomCrop(picture, 32, { seed: 1, index }));
    for (const crop of crops) expect([crop.width, crop.height, crop.data.length]).toEqual([32, 32, 3 * 32 * 32]);
    expect(randomCrop(picture, 32, { seed: 1, index: 3 })).toEqual(crops[3]);
    expect(new Set(crops.map(({ data }) => Buffer.from(data).toString('latin1'))).size).toBeGreaterThan(15);
    const flips = Array.from({ length: 1000 }, (_, index) => randomFlip({ seed: 1, index }));
    expect(Math.abs(flips.filter(Boolean).length - 500)).toBeLessThan(60);
  });

  test('two flips are none, one mirrors the columns', () => {
    const picture = pattern(5, 3);
    expect(flipped(flipped(picture))).toEqual(picture);
    expect(flipped(picture).data.subarray(0, 3)).toEqual(picture.data.subarray(12, 15));
    expect(() => centerCrop(picture, 1.5)).toThrow(/positive integer/);
  });
});

describe('files', () => {
  const picture = pattern(60, 40);
  let png: Buffer;
  beforeAll(async () => {
    png = await encode(picture).png().toBuffer();
  });

  test.each([
    ['png', {}, 0],
    ['webp', { lossless: true }, 0],
    ['gif', {}, 15],
    ['tiff', { compression: 'lzw' }, 0],
    ['avif', { lossless: true, chromaSubsampling: '4:4:4' }, 1],
    ['jpeg', { quality: 95, chromaSubsampling: '4:4:4' }, 2],
  ] as const)('%s is told by its content', async (format, options, tolerance) => {
    const found = await decodeImage(await encode(picture).toFormat(format, options).toBuffer(), 'x');
    const mean = found.data.reduce((sum, v, i) => sum + Math.abs(v - picture.data[i]), 0) / picture.data.length;
    expect(mean).toBeLessThanOrEqual(tolerance);
  });

  test('the orientation is applied only on request', async () => {
    const file = await encode(picture).jpeg().withMetadata({ orientation: 6 }).toBuffer();
    expect(await decodeImage(file, 'x')).toMatchObject({ width: 60, height: 40 });
    expect(await decodeImage(file, 'x', { applyOrientation: true })).toMatchObject({ width: 40, height: 60 });
  });

  test('a profile does not change the numbers', async () => {
    const file = await encode(picture).png().withIccProfile('p3', { attach: true }).toBuffer();
    const plain = await sharp(file, { ignoreIcc: true }).raw().toBuffer();
    expect(Buffer.from((await decodeImage(file, 'x')).data)).toEqual(plain);
  });

  test.each(['tiff', 'jpeg'] as const)('CMYK in %s becomes RGB without a profile, as Pillow does it', async (format) => {
    const cmyk = Uint8Array.from({ length: 4 * 16 * 16 }, (_, i) => (format === 'tiff' ? (i * 53) % 256 : 40 * (i % 4) + 3 * (i >> 6)));
    const raw = sharp(cmyk, { raw: { width: 16, height: 16, channels: 4 } })
      .pipelineColourspace('cmyk')
      .toColourspace('cmyk');
    const source = sharp(await raw.tiff().toBuffer())
      .pipelineColourspace('cmyk')
      .toColourspace('cmyk');
    const file = await (format === 'tiff'
      ? source.tiff({ compression: 'lzw' })
      : source.jpeg({ quality: 100, chromaSubsampling: '4:4:4' })
    ).toBuffer();
    const stored = await sharp(file, { ignoreIcc: true }).pipelineColourspace('cmyk').toColourspace('cmyk').raw().toBuffer();
    const { data } = await decodeImage(file, 'x');
    for (let i = 0; i < data.length; i++) {
      const [pixel, channel] = [Math.floor(i / 3), i % 3];
      const rest = 255 - stored[4 * pixel + 3];
      // Pillow's MULDIV255.
      const product = stored[4 * pixel + channel] * rest + 128;
      expect(data[i]).toBe(Math.max(0, rest - (((product >> 8) + product) >> 8)));
    }
  });

  test('YCbCr in TIFF becomes RGB, compressed or not', async () => {
    const colours = [
      [255, 0, 0],
      [0, 255, 0],
      [0, 0, 255],
      [128, 128, 128],
    ];
    // JFIF's matrix.
    const ycbcr = colours.flatMap(([r, g, b]) => [
      Math.round(0.299 * r + 0.587 * g + 0.114 * b),
      Math.min(255, Math.round(128 - 0.168736 * r - 0.331264 * g + 0.5 * b)),
      Math.min(255, Math.round(128 + 0.5 * r - 0.418688 * g - 0.081312 * b)),
    ]);
    /** Tag, type and value; what is said of three samples, and where they lie, is filled in. */
    const tags = (photometric: number): [number, number, number][] => [
      [256, 4, 2],
      [257, 4, 2],
      [258, 3, 0],
      [259, 3, 1],
      [262, 3, photometric],
      [273, 4, 0],
      [277, 3, 3],
      [278, 4, 2],
      [279, 4, 12],
      [530, 3, 0x10001],
    ];
    const tiff = (photometric: number): Uint8Array => {
      const entries = tags(photometric);
      const [bits, data] = [8 + 2 + 12 * entries.length + 4, 8 + 2 + 12 * entries.length + 12];
      const bytes = Buffer.alloc(data + 12);
      bytes.write('II*\0\b\0\0\0', 'latin1');
      bytes.writeUInt16LE(entries.length, 8);
      for (const [i, [tag, type, value]] of entries.entries()) {
        bytes.writeUInt16LE(tag, 10 + 12 * i);
        bytes.writeUInt16LE(type, 12 + 12 * i);
        bytes.writeUInt32LE(tag === 258 ? 3 : tag === 530 ? 2 : 1, 14 + 12 * i);
        bytes.writeUInt32LE(tag === 258 ? bits : tag === 273 ? data : value, 18 + 12 * i);
      }
      for (let c = 0; c < 3; c++) bytes.writeUInt16LE(8, bits + 2 * c);
      bytes.set(photometric === 6 ? ycbcr : colours.flat(), data);
      return bytes;
    };
    const [found, plain] = [await decodeImage(tiff(6), 'ycbcr.tif'), await decodeImage(tiff(2), 'rgb.tif')];
    expect([...plain.data]).toEqual(colours.flat());
    // Rounded twice: to YCbCr and back, where a step of Cb is 1.8 of blue.
    for (const [i, value] of colours.flat().entries()) expect(Math.abs(found.data[i] - value)).toBeLessThanOrEqual(2);
  });

  test('TIFF files are turned as Pillow turns them, by themselves', async () => {
    const file = await encode(picture).tiff().withMetadata({ orientation: 6 }).toBuffer();
    expect(await decodeImage(file, 'x')).toMatchObject({ width: 40, height: 60 });
  });

  test.each([
    [1, 0],
    [4, 0],
    [8, 0],
    [16, 0],
    [24, 0],
    [32, 0],
    [32, 3],
  ])('BMP of %i bits, compression %i', async (bits, compression) => {
    const [width, height] = [5, 3];
    const colours = bits <= 8 ? 2 ** bits : 0;
    const stride = 4 * Math.ceil((width * bits) / 32);
    const start = 54 + 4 * colours + (compression === 3 ? 12 : 0);
    const file = Buffer.alloc(start + stride * height);
    file.write('BM');
    file.writeUInt32LE(start, 10);
    file.writeUInt32LE(40, 14);
    file.writeInt32LE(width, 18);
    file.writeInt32LE(-height, 22);
    file.writeUInt16LE(bits, 28);
    file.writeUInt32LE(compression, 30);
    const palette = (index: number): number[] => [(index * 91) % 256, (index * 37) % 256, 255 - (index % 256)];
    for (let i = 0; i < colours; i++) for (let c = 0; c < 3; c++) file[54 + 4 * i + c] = palette(i)[2 - c];
    // Masks: red lowest.
    if (compression === 3) for (const [i, mask] of [0xff, 0xff00, 0xff0000].entries()) file.writeUInt32LE(mask, 54 + 4 * i);
    const expected: number[] = [];
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const value = (x * 7 + y * 11) % (bits <= 8 ? colours : 256);
        const rgb = bits <= 8 ? palette(value) : [value, 255 - value, (value * 5) % 256];
        const at = start + y * stride;
        if (bits <= 8) {
          file[at + ((x * bits) >> 3)] |= value << (8 - bits - ((x * bits) & 7));
          expected.push(...rgb);
        } else if (bits === 16) {
          const five = rgb.map((v) => v >> 3);
          file.writeUInt16LE((five[0] << 10) | (five[1] << 5) | five[2], at + 2 * x);
          expected.push(...five.map((v) => Math.floor((v * 255) / 31)));
        } else {
          const bytes = compression === 3 ? rgb : [...rgb].reverse();
          for (const [c, byte] of bytes.entries()) file[at + (bits / 8) * x + c] = byte;
          expected.push(...rgb);
        }
      }
    expect([...(await decodeImage(file, 'x')).data]).toEqual(expected);
    await expect(decodeImage(file.subarray(0, -1), 'x')).rejects.toThrow(/x: it is truncated or damaged/);
    await expect(decodeImage(file, 'x', { maxPixels: 14 })).rejects.toThrow(/more than 14 pixels/);
  });

  test('pixels in flight are bounded, in the order of asking', async () => {
    const budget = new PixelBudget(100);
    let [running, most] = [0, 0];
    const started: number[] = [];
    const sizes = [60, 60, 30, 500, 10, 10, 90];
    await Promise.all(
      sizes.map((size, i) =>
        budget.run(size, async () => {
          started.push(i);
          running += Math.min(size, 100);
          most = Math.max(most, running);
          await new Promise((resolve) => setTimeout(resolve, 5));
          running -= Math.min(size, 100);
        }),
      ),
    );
    expect(started).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(most).toBe(100);
    await expect(budget.run(100, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await budget.run(100, async () => 1)).toBe(1);
  });

  test('more pixels than allowed are refused by name', async () => {
    await expect(decodeImage(png, 'big.png', { maxPixels: 2000 })).rejects.toThrow('big.png: it claims more than 2000 pixels');
    const error = await decodeImage(png.subarray(0, 300), 'half.png').catch((e: unknown) => e);
    expect(error).toBeInstanceOf(ImageError);
    expect(error).toMatchObject({ image: 'half.png', code: 'E_IMAGE' });
    await expect(decodeImage(Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>'), 'a.svg')).rejects.toThrow(/SVG text/);
  });

  test('a file becomes a square', async () => {
    expect(await preprocessImage(png, 'x', { size: 16 })).toEqual(centerCrop(picture, 16));
    const random = await preprocessImage(png, 'x', { size: 16, crop: 'random', seed: 4 }, 9);
    expect(random).toEqual(randomCrop(picture, 16, { seed: 4, index: 9 }));
  });
});
