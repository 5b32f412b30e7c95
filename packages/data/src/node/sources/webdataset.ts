/**
 * WebDataset: tar files in which the members of one sample share their name up to the first dot of the last part:
 * `a/000017.jpg`, `a/000017.cls`.
 */
import path from 'node:path';
import { FormatError } from '@dit-moe/tensor-ops/io';
import { FileSource } from '@dit-moe/tensor-ops/io/node';
import { ImageError } from '../pictures/image-error.js';
import { type ImageSource, ImageSourceError, imageExtensions } from './image-source.js';
import { tarMembers } from './tar.js';

interface Sample {
  shard: number;
  key: string;
  offset: number;
  size: number;
  label: number;
  ending: string;
}

/** Longest label or JSON record that is read. */
const MAX_LABEL_BYTES = 2 ** 20;

/**
 * Opens tar shards in the order given. Headers are walked once, so that any sample can be read at any time; images are not read.
 *
 * Labels come from a `.cls` member (a whole number) or the `label`, `class_id` or `cls` of a `.json` member. Keys are
 * `<shard's file name>/<sample>`. A sample without an image is left out.
 * @throws ImageSourceError if a shard is damaged or there is no image
 */
export async function openWebDataset(shards: readonly string[]): Promise<ImageSource> {
  const files: FileSource[] = [];
  const samples: Sample[] = [];
  const close = async (): Promise<void> => void (await Promise.all(files.map((file) => file.close())));
  try {
    for (const [number, shard] of shards.entries()) {
      files.push(await FileSource.open(shard));
      for await (const sample of samplesOf(files[number], number)) samples.push(sample);
    }
    if (samples.length === 0) throw new ImageSourceError(shards[0] ?? '', 'there is no image in the tar files.');
  } catch (error) {
    await close();
    if (error instanceof FormatError) throw new ImageSourceError('WebDataset', error.message, { cause: error });
    throw error;
  }
  const keyOf = ({ shard, key }: Sample): string => `${path.basename(shards[shard])}/${key}`;
  return {
    location: shards.length === 1 ? shards[0] : path.dirname(shards[0]),
    kind: 'webdataset',
    count: samples.length,
    classNames: [],
    endings: new Set(samples.map(({ ending }) => ending)),
    key: (index) => keyOf(samples[index]),
    label: (index) => samples[index].label,
    async read(index) {
      const sample = samples[index];
      try {
        return await files[sample.shard].read(sample.offset, sample.size);
      } catch (error) {
        throw new ImageError(keyOf(sample), `it cannot be read (${(error as Error).message}).`, { cause: error });
      }
    },
    close,
  };
}

async function* samplesOf(file: FileSource, shard: number): AsyncGenerator<Sample> {
  let key: string | undefined;
  let image: { offset: number; size: number; ending: string } | undefined;
  let plain = false;
  let label = -1;
  const finished = (): Sample[] => (key === undefined || image === undefined ? [] : [{ shard, key, label, ...image }]);
  for await (const { name, offset, size } of tarMembers(file)) {
    const dot = name.indexOf('.', name.lastIndexOf('/') + 1);
    if (dot <= name.lastIndexOf('/') + 1) continue;
    if (name.slice(0, dot) !== key) {
      yield* finished();
      [key, image, plain, label] = [name.slice(0, dot), undefined, false, -1];
    }
    const extension = name.slice(dot + 1).toLowerCase();
    const ending = extension.slice(extension.lastIndexOf('.') + 1);
    if (imageExtensions.has(ending)) {
      // `png` is the image, whatever else (`mask.png`) lies beside it.
      if (image === undefined || (!plain && !extension.includes('.'))) image = { offset, size, ending };
      plain ||= !extension.includes('.');
    } else if (extension === 'cls' || extension === 'json') {
      if (size > MAX_LABEL_BYTES) throw new FormatError(file.name, `the label ${name} has ${size} bytes.`);
      label = labelIn(Buffer.from(await file.read(offset, size)).toString('utf8'), extension, label, `${file.name}: ${name}`);
    }
  }
  yield* finished();
}

function labelIn(content: string, extension: 'cls' | 'json', known: number, where: string): number {
  let value: unknown;
  if (extension === 'cls') {
    if (content.trim() === '') return known;
    value = Number(content);
  } else {
    try {
      const record = JSON.parse(content) as Record<string, unknown> | null;
      value = record?.['label'] ?? record?.['class_id'] ?? record?.['cls'];
    } catch (cause) {
      throw new FormatError(where, 'it is not JSON.', { cause });
    }
    if (typeof value !== 'number') return known;
  }
  if (!Number.isInteger(value) || (value as number) < 0)
    throw new FormatError(where, `expected a class number, found ${JSON.stringify(content.slice(0, 40))}.`);
  return value as number;
}
