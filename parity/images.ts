/** Image files: decoding, crops, EXIF orientation, refusals, and the roundings to 8 bits. */
import fs from 'node:fs';
import path from 'node:path';
import { centerCrop, imagesOfPixels, pixelRoundings, type Rounding } from '@dit-moe/data';
import { decodeImage, ImageError } from '@dit-moe/data/node';
import * as tf from '@tensorflow/tfjs-core';
import { type Comparison, check, compare, json, tensors } from './golden.js';
import { onDevice } from './reference-model.js';

export const area = 'images';

/**
 * Lossless sources must give the reference's pixels exactly. JPEG decoders differ in their cosine transform and upsampling: there the
 * layout's bound is a mean difference of 1.5 with 99 % of the values within 4.
 */
const JPEG = { mean: 1.5, share: 0.99, within: 4 };

export async function* run(folder: string): AsyncGenerator<Comparison> {
  const facts = json(path.join(folder, 'expected.json'));
  for (const [file, source] of Object.entries<Source>(facts.sources)) yield* compareSource(folder, file, source);
  for (const file of Object.keys(facts.malformed)) yield* compareMalformed(folder, file, facts.malformed[file]);
  yield* compareRounding(path.join(folder, 'quantisation.safetensors'));
}

interface Source {
  width: number;
  height: number;
  lossless: boolean;
  crops: Record<string, { file: string }>;
  decoded?: string;
  decoded_high_byte?: string;
  decoded_crop?: string;
}

async function* compareSource(folder: string, file: string, source: Source): AsyncGenerator<Comparison> {
  const bytes = fs.readFileSync(path.join(folder, 'source', file));
  const picture = await decodeImage(bytes, file);
  yield check(`${file}: size`, picture.width === source.width && picture.height === source.height, `${picture.width} x ${picture.height}`);
  const expected = async (name: string) => decodeImage(fs.readFileSync(path.join(folder, name)), name);
  const against = async (name: string, actual: { data: Uint8Array }, reference: string): Promise<Comparison> => {
    const want = (await expected(reference)).data;
    return source.lossless ? compare(`${file}: ${name}`, actual.data, want, { rtol: 0 }) : close(`${file}: ${name}`, actual.data, want);
  };
  // Pillow makes 16-bit grey white; the sensible reading is what we give.
  const highByte = source.decoded_high_byte;
  const decoded = highByte ?? source.decoded;
  if (decoded !== undefined) yield await against('decoded', picture, decoded);
  if (source.decoded_crop !== undefined) {
    const [width, height] = [128, 96];
    const rows = Array.from({ length: height }, (_, y) => picture.data.subarray(3 * y * picture.width, 3 * (y * picture.width + width)));
    yield await against('decoded, top left', { data: Buffer.concat(rows) }, source.decoded_crop);
  }
  for (const [key, { file: reference }] of Object.entries(source.crops)) {
    const [, size, variant] = /^(\d+)_?(.*)$/.exec(key) as unknown as [string, string, string];
    if (highByte !== undefined && variant === '') continue;
    const turned = variant === 'orientation_applied' ? await decodeImage(bytes, file, { applyOrientation: true }) : picture;
    yield await against(`crop ${key}`, centerCrop(turned, Number(size)), reference);
  }
}

function close(name: string, actual: Uint8Array, want: Uint8Array): Comparison {
  if (actual.length !== want.length) return check(name, false, `expected ${want.length} values, found ${actual.length}`);
  const errors = Float64Array.from(want, (v, i) => Math.abs(v - actual[i]));
  const mean = errors.reduce((a, b) => a + b, 0) / errors.length;
  const share = errors.filter((e) => e <= JPEG.within).length / errors.length;
  const largest = errors.reduce((a, b) => Math.max(a, b), 0);
  return {
    name,
    passed: mean <= JPEG.mean && share >= JPEG.share,
    maxAbsError: largest,
    maxRelError: largest / 255,
    maxOfTolerance: Math.max(mean / JPEG.mean, (1 - share) / (1 - JPEG.share)),
    tolerance: { atol: JPEG.within, rtol: 0 },
    detail: `mean difference ${mean.toFixed(3)}, ${(100 * share).toFixed(2)} % within ${JPEG.within}`,
  };
}

async function* compareMalformed(folder: string, file: string, { expected }: { expected: string }): AsyncGenerator<Comparison> {
  const bytes = fs.readFileSync(path.join(folder, 'malformed', file));
  const before = process.memoryUsage().rss;
  const result = await decodeImage(bytes, file).catch((error: unknown) => error);
  const grown = process.memoryUsage().rss - before;
  const refused = result instanceof ImageError && result.image === file;
  const detail = result instanceof Error ? result.message : 'decoded';
  if (expected.startsWith('accept')) yield check(`${file}: ${expected}`, !(result instanceof Error), detail);
  else if (expected.includes('or decode')) yield check(`${file}: ${expected}`, refused || !(result instanceof Error), detail);
  else yield check(`${file}: ${expected}`, refused, detail);
  yield check(`${file}: little memory`, grown < 2 ** 26, `grew by ${grown} bytes`);
}

/** Our names of the layout's rules. */
const rules: Record<string, Rounding> = {
  dit_trunc: 'dit',
  adm_sample: 'adm',
  diffusers: 'diffusers',
  torchvision_save_image: 'torchvision',
};

async function* compareRounding(file: string): AsyncGenerator<Comparison> {
  const golden = tensors(file);
  const input = onDevice(golden, 'input');
  for (const [name, rounding] of Object.entries(rules)) {
    if (!golden.has(name)) continue;
    const found = tf.tidy(() => pixelRoundings[rounding](input));
    yield compare(`rounding ${name}`, (await found.data()) as ArrayLike<number>, golden.get(name)!.data as Uint8Array, { rtol: 0 });
  }
  if (golden.has('levels.adm_to_float')) {
    const found = tf.tidy(() => imagesOfPixels(onDevice(golden, 'levels')));
    const want = golden.get('levels.adm_to_float')!.data as Float32Array;
    yield compare('levels to numbers', (await found.data()) as ArrayLike<number>, want, { atol: 1.2e-7, rtol: 0 });
  }
}
