/**
 * Images that are numbers already: `.npz` archives (`arr_0` and `arr_1` as ADM writes them, `x_train` and `y_train` of Keras,
 * `train_images` and `train_labels` of MedMNIST) and the idx files of MNIST. They are held in memory.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { FormatError } from '@dit-moe/tensor-ops/io';
import { openNpz } from '@dit-moe/tensor-ops/io/node';
import { type Pixels, pictureOf } from '../../pictures/pixels.js';
import { byName, type ImageSource, ImageSourceError, type ImageSourceOptions, LeftOutCounter } from './image-source.js';
import { LabelCollector } from './labels.js';
import { isSplit, sameSplit } from './splits.js';

/** Most bytes of images that are held. */
const MAX_ARRAY_BYTES = 2 ** 31;

/** An array that may be images or labels, not read yet. */
interface Candidate {
  name: string;
  split: string | undefined;
  shape: readonly number[];
  bytes: boolean;
  read(): Promise<ArrayLike<number | bigint>>;
}

/**
 * Opens an .npz file, or the idx files of a data set.
 * @throws ImageSourceError if there are no images, several splits and none chosen, or more than 2 GiB
 */
export async function openArrays(files: readonly string[], options: ImageSourceOptions = {}): Promise<ImageSource> {
  const isNpz = files[0].toLowerCase().endsWith('.npz');
  if (isNpz && files.length > 1)
    throw new ImageSourceError(
      path.dirname(files[0]),
      `it has several .npz files (${files
        .map((file) => path.basename(file))
        .slice(0, 5)
        .join(', ')}).`,
      { hint: 'Name one.' },
    );
  const location = files.length === 1 ? files[0] : path.dirname(files[0]);
  try {
    return isNpz ? await openNpzImages(location, options) : await choose(location, await idxArrays(files), options);
  } catch (error) {
    if (FormatError.isInstance(error)) throw new ImageSourceError(location, error.message, { cause: error });
    throw error;
  }
}

async function openNpzImages(location: string, options: ImageSourceOptions): Promise<ImageSource> {
  const { arrays, close } = await openNpz(location);
  try {
    const candidates: Candidate[] = [];
    for (const name of arrays.names) {
      const { dtype, shape, dataBytes } = await arrays.info(name);
      candidates.push({
        name,
        split: splitIn(name),
        shape,
        bytes: dtype === 'U8',
        async read() {
          if (dataBytes > MAX_ARRAY_BYTES) throw tooLarge(location, name, dataBytes);
          return (await arrays.read(name, dataBytes)).data as ArrayLike<number | bigint>;
        },
      });
    }
    return await choose(location, candidates, options);
  } finally {
    await close();
  }
}

const splitIn = (name: string): string | undefined => name.split(/[-_. ]+/).find(isSplit);
const tooLarge = (location: string, name: string, bytes: number): ImageSourceError =>
  new ImageSourceError(location, `"${name}" has ${bytes} bytes; arrays of at most ${MAX_ARRAY_BYTES} are held in memory.`, {
    hint: 'Write larger sets as tar shards or files.',
  });

/** Images and labels of one split. */
async function choose(
  location: string,
  all: readonly Candidate[],
  { split, labels: from = 'auto', imageColumn, labelColumn }: ImageSourceOptions,
): Promise<ImageSource> {
  const images = all.filter(
    ({ bytes, shape, name }) => bytes && layoutOf(shape) !== undefined && (imageColumn === undefined || name === imageColumn),
  );
  const found = `it has ${all.map(({ name, shape }) => `${name} [${shape}]`).join(', ') || 'none'}`;
  if (images.length === 0)
    throw new ImageSourceError(location, `no array of 8-bit images, [N, H, W], [N, H, W, 1 or 3] or [N, 1 or 3, H, W]; ${found}.`);
  const wanted =
    split === undefined || split === 'none' ? images : images.filter((image) => image.split !== undefined && sameSplit(image.split, split));
  if (wanted.length === 0)
    throw new ImageSourceError(location, `it has no split "${split}"; ${found}.`, { hint: 'To take all: --split none.' });
  if (wanted.length > 1) {
    const splits = wanted.map((image) => image.split ?? image.name).sort(byName);
    throw new ImageSourceError(location, `it holds several arrays of images (${wanted.map(({ name }) => name).join(', ')}).`, {
      hint: `Say which: --split ${splits[0]}, or --image-column.`,
    });
  }
  const [image] = wanted;
  const [count, height, width, channels, planar] = layoutOf(image.shape)!;
  const data = (await image.read()) as Uint8Array;
  const isLabels = ({ shape }: Candidate): boolean => shape[0] === count && shape.slice(1).every((n) => n === 1);
  const others = all.filter((array) => array !== image);
  const label = others.find((array) =>
    labelColumn === undefined
      ? array.split === image.split && /(^|[-_])(labels?|y|arr_1|targets?|classes)([-_]|$)/.test(array.name)
      : array.name === labelColumn,
  );
  if (labelColumn !== undefined && label === undefined) throw new ImageSourceError(location, `it has no array "${labelColumn}"; ${found}.`);
  if (label !== undefined && from !== 'none' && !isLabels(label))
    throw new ImageSourceError(location, `"${label.name}" [${label.shape}] is no class number for each of the ${count} images.`, {
      hint: 'To leave it out: --labels none.',
    });
  const labelArrays = others.filter(isLabels);
  const collector = new LabelCollector(location);
  const leftOut = new LeftOutCounter();
  const values = label === undefined || from === 'none' ? undefined : await label.read();
  for (let i = 0; i < count; i++) collector.add(values?.[i], `${label?.name ?? ''}[${i}]`);
  const { numbers } = collector.finish();
  const key = (index: number): string => `${image.name}/${index}`;
  return {
    location,
    kind: 'arrays',
    count,
    classNames: [],
    labelsFrom: values === undefined ? 'none' : `array "${label!.name}"`,
    labelHint:
      labelArrays.length === 0
        ? undefined
        : `there are the arrays ${labelArrays.map(({ name }) => name).join(', ')}; name the one of the class: --label-column`,
    split: image.split,
    leftOut: leftOut.all,
    emptyClasses: [],
    endings: new Set(),
    key,
    label: (index) => numbers[index],
    picture: async (index) =>
      pictureIn(data.subarray(index * height * width * channels, (index + 1) * height * width * channels), width, height, channels, planar),
    content: async () => createHash('sha256').update(image.shape.join()).update(data).digest('hex'),
    close: async () => {},
  };
}

/** Number, height, width, channels, and whether the channels come first. */
function layoutOf(shape: readonly number[]): readonly [number, number, number, number, boolean] | undefined {
  const [count, a, b, c] = shape;
  if (!shape.every((n) => n > 0)) return undefined;
  // The last of three axes being channels, it is a picture by itself.
  if (shape.length === 3) return b === 3 ? undefined : [count, a, b, 1, false];
  if (shape.length !== 4) return undefined;
  if (c === 1 || c === 3) return [count, a, b, c, false];
  return a === 1 || a === 3 ? [count, b, c, a, true] : undefined;
}

function pictureIn(data: Uint8Array, width: number, height: number, channels: number, planar: boolean): Pixels {
  const rgb = new Uint8Array(3 * width * height);
  const plane = width * height;
  for (let i = 0; i < plane; i++)
    for (let c = 0; c < 3; c++) {
      const channel = channels === 1 ? 0 : c;
      rgb[3 * i + c] = data[planar ? channel * plane + i : i * channels + channel];
    }
  return pictureOf(rgb, width, height);
}

/** Arrays of idx files: two zero bytes, type, number of axes, sizes, then the numbers; `.gz` is unpacked. */
async function idxArrays(files: readonly string[]): Promise<Candidate[]> {
  return Promise.all(
    files.map(async (file): Promise<Candidate> => {
      const packed = await fs.readFile(file);
      const bytes = file.toLowerCase().endsWith('.gz')
        ? await promisify(gunzip)(packed, { maxOutputLength: MAX_ARRAY_BYTES }).catch((cause: Error) => {
            throw new FormatError(file, `it cannot be unpacked (${cause.message}).`, { cause });
          })
        : packed;
      const axes = bytes[3] ?? 0;
      const start = 4 + 4 * axes;
      const shape = bytes.length < start ? [] : Array.from({ length: axes }, (_, i) => bytes.readUInt32BE(4 + 4 * i));
      const size = shape.reduce((product, n) => product * n, 1);
      if (bytes.length < 4 || bytes[0] !== 0 || bytes[1] !== 0 || bytes[2] !== 8 || axes === 0 || start + size !== bytes.length)
        throw new FormatError(file, `it is no idx file of bytes, or it is cut off: [${shape}] and ${bytes.length} bytes.`);
      const name = path.basename(file).replace(/\.gz$/i, '');
      return { name, split: splitIn(name), shape, bytes: true, read: async () => bytes.subarray(start) };
    }),
  );
}
