import * as tf from '@tensorflow/tfjs';
import { decode } from 'fast-png';
import { describe, expect, test } from 'vitest';
import {
  contactSheet,
  encodePng,
  flipped,
  imagesOfPixels,
  joinPixels,
  type Pixels,
  pictureAt,
  pixelRoundings,
  slicePixels,
  toGrey,
  toPixels,
} from '../index.js';

const counting = (count: number, height: number, width: number, channels: number): Pixels => ({
  data: Uint8Array.from({ length: count * height * width * channels }, (_, i) => (i * 37) % 256),
  ...{ count, height, width, channels },
});

describe('pixels', () => {
  test('parts joined are the whole; pictures are copies, slices are views', () => {
    const all = counting(5, 2, 3, 3);
    expect(joinPixels([slicePixels(all, 0, 2), slicePixels(all, 2, 3), slicePixels(all, 3, 5)])).toEqual(all);
    const picture = pictureAt(all, 4);
    expect(picture).toMatchObject({ count: 1, data: all.data.slice(4 * 18) });
    picture.data[0] ^= 1;
    expect(all.data[4 * 18]).not.toBe(picture.data[0]);
    expect(() => joinPixels([])).toThrow(/at least one/);
    expect(() => joinPixels([all, counting(1, 2, 3, 1)])).toThrow(/pictures of 3 x 2 x 3.*3 x 2 x 1/);
  });

  test.each([1, 3])('mirroring twice is nothing, once reverses every row of every picture: %i channels', (channels) => {
    const all = counting(2, 3, 4, channels);
    expect(flipped(flipped(all))).toEqual(all);
    const row = (pixels: Pixels, i: number) => pixels.data.subarray(i * 4 * channels, (i + 1) * 4 * channels);
    for (let i = 0; i < 6; i++)
      for (let x = 0; x < 4; x++)
        expect(row(flipped(all), i).slice(x * channels, (x + 1) * channels)).toEqual(
          row(all, i).slice((3 - x) * channels, (4 - x) * channels),
        );
  });

  test('grey is the luma of Rec. 601: every level without hue stays, green is lighter than red and blue', () => {
    const levels = Uint8Array.from({ length: 3 * 256 }, (_, i) => Math.floor(i / 3));
    const grey = toGrey({ data: levels, count: 2, height: 8, width: 16, channels: 3 });
    expect(grey).toEqual({ data: Uint8Array.from({ length: 256 }, (_, i) => i), count: 2, height: 8, width: 16, channels: 1 });
    expect(toGrey(grey)).toBe(grey);
    const pure = Uint8Array.of(255, 0, 0, 0, 255, 0, 0, 0, 255);
    expect(toGrey({ data: pure, count: 1, height: 1, width: 3, channels: 3 }).data).toEqual(Uint8Array.of(76, 150, 29));
  });

  test('every level survives the way to numbers and back, and what lies outside is clipped', async () => {
    const levels = counting(1, 16, 16, 1);
    levels.data.set(Uint8Array.from({ length: 256 }, (_, i) => i));
    const numbers = tf.tidy(() => tf.transpose(imagesOfPixels(tf.tensor(levels.data, [1, 16, 16, 1], 'int32')), [0, 3, 1, 2]));
    expect(await toPixels(numbers)).toEqual(levels);
    expect((await toPixels(tf.tensor([-9, 9], [1, 1, 1, 2]))).data).toEqual(Uint8Array.of(0, 255));
    const x = tf.randomUniform([2, 3, 4, 5], -1.2, 1.2, 'float32', 3);
    const { data, ...shape } = await toPixels(x);
    expect(shape).toEqual({ count: 2, channels: 3, height: 4, width: 5 });
    expect([...data]).toEqual([...(await pixelRoundings.dit(tf.transpose(x, [0, 2, 3, 1])).data())]);
  });
});

describe('PNG', () => {
  test.each([1, 3])('a sheet of %i channels comes back, white between the pictures', (channels) => {
    const all = counting(3, 4, 5, channels);
    const sheet = contactSheet(all, 2, 2);
    expect(sheet).toMatchObject({ count: 1, width: 2 * 12 - 2, height: 2 * 10 - 2, channels });
    const file = decode(encodePng(sheet));
    expect(file).toMatchObject({ width: sheet.width, height: sheet.height, channels });
    expect(Uint8Array.from(file.data)).toEqual(sheet.data);
    expect(new Set(sheet.data.subarray(10 * channels, 12 * channels))).toEqual(new Set([255]));
    expect(() => encodePng(all)).toThrow(/one picture/);
  });

  test('text of any script stands in it: Latin-1 as tEXt, other as iTXt in UTF-8, and decoders read the picture', () => {
    const picture = counting(1, 2, 2, 3);
    const file = encodePng(picture, { Software: 'café', Comment: 'runs/雪 🙂' });
    const { data, text } = decode(file, { checkCrc: true });
    expect(Uint8Array.from(data)).toEqual(picture.data);
    expect(text).toEqual({ Software: 'café' });
    const bytes = Buffer.from(file);
    const at = bytes.indexOf('iTXt');
    expect(bytes.subarray(at + 4, at + 4 + bytes.readUInt32BE(at - 4)).toString('utf8')).toBe('Comment\0\0\0\0\0runs/雪 🙂');
    expect(bytes.subarray(-8, -4).toString()).toBe('IEND');
  });
});
