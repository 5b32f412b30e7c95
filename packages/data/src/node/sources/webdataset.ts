/** WebDataset: tar files whose members belong together by their names. */
import path from 'node:path';
import { FormatError } from '@dit-moe/tensor-ops/io';
import { FileSource } from '@dit-moe/tensor-ops/io/node';
import { decodeImage } from '../pictures/decode-image.js';
import { ImageError } from '../pictures/image-error.js';
import { contentOf } from './content.js';
import { type ImageSource, ImageSourceError, type ImageSourceOptions, LABEL_KEYS, LeftOutCounter } from './image-source.js';
import { LabelCollector } from './labels.js';
import { unreadable } from './locate.js';
import { type TarMember, tarMembers } from './tar.js';
import { type Sample, samplesOf } from './webdataset-samples.js';

/** Longest label or JSON record that is read. */
const MAX_LABEL_BYTES = 2 ** 20;
/** Longest text that is taken for the name of a class; longer ones, or as many as there are images, are captions. */
const MAX_TEXT_BYTES = 100;

/**
 * Opens tar shards in the order given. Headers are walked once, so that any sample can be read at any time; images are not read.
 *
 * Labels come from `.cls` members (numbers or names), else from the usual keys of `.json` members, else from `.txt` members whose few
 * short texts repeat. Keys are `<shard's file name>/<sample>`.
 * @throws ImageSourceError if a shard is missing or damaged, a name is there twice, a label is none, or there is no image
 */
export async function openWebDataset(shards: readonly string[], options: ImageSourceOptions = {}): Promise<ImageSource> {
  const files: FileSource[] = [];
  const samples: (Sample & { shard: number })[] = [];
  const leftOut = new LeftOutCounter();
  const location = shards.length === 1 ? shards[0] : path.dirname(shards[0]);
  const close = async (): Promise<void> => void (await Promise.all(files.map((file) => file.close())));
  try {
    for (const [shard, name] of shards.entries()) {
      files.push(await opened(name));
      const members: TarMember[] = [];
      for await (const member of tarMembers(files[shard])) members.push(member);
      for (const sample of samplesOf(path.basename(name), members, leftOut)) samples.push({ ...sample, shard });
    }
    if (samples.length === 0) throw new ImageSourceError(shards[0] ?? '', 'there is no image in the tar files.');
    const { numbers, names, from, hint } = await readLabels(location, files, samples, options, leftOut);
    const keyOf = ({ shard, key }: (typeof samples)[number]): string => `${path.basename(shards[shard])}/${key}`;
    return {
      location,
      kind: 'webdataset',
      count: samples.length,
      classNames: names,
      labelsFrom: from,
      labelHint: hint,
      leftOut: leftOut.all,
      emptyClasses: [],
      endings: new Set(samples.map(({ ending }) => ending)),
      key: (index) => keyOf(samples[index]),
      label: (index) => numbers[index],
      async picture(index, decoding) {
        const { shard, image } = samples[index];
        const key = keyOf(samples[index]);
        const bytes = await files[shard].read(image.offset, image.size).catch((error: Error) => {
          throw new ImageError(key, `it cannot be read (${error.message}).`, { cause: error });
        });
        return decodeImage(bytes, key, decoding);
      },
      content: () => contentOf(samples.map(({ shard, image }) => ({ file: shards[shard], offset: image.offset, length: image.size }))),
      close,
    };
  } catch (error) {
    await close();
    if (FormatError.isInstance(error)) throw new ImageSourceError('WebDataset', error.message, { cause: error });
    throw error;
  }
}

async function opened(shard: string): Promise<FileSource> {
  try {
    return await FileSource.open(shard);
  } catch (error) {
    if (FormatError.isInstance(error)) throw error;
    throw new ImageSourceError(shard, unreadable(error), { cause: error });
  }
}

/** Labels of all samples, from the first kind of member that says any. */
async function readLabels(
  location: string,
  files: readonly FileSource[],
  samples: readonly (Sample & { shard: number })[],
  { labels = 'auto', labelColumn }: ImageSourceOptions,
  leftOut: LeftOutCounter,
): Promise<{ numbers: Int32Array; names: readonly string[]; from: string; hint?: string }> {
  if (labels !== 'auto' && labels !== 'none' && labels !== 'names')
    throw new ImageSourceError(location, `labels of tar files stand in their members, not in ${labels}.`);
  const unlabelled = { numbers: new Int32Array(samples.length).fill(-1), names: [] };
  if (labels === 'none') return { ...unlabelled, from: 'none' };
  const where = (shard: number, { name }: TarMember): string => `${path.basename(files[shard].name)}: ${name}`;
  const text = async (shard: number, member: TarMember): Promise<string> => {
    if (member.size > MAX_LABEL_BYTES) throw new ImageSourceError(where(shard, member), `a label of ${member.size} bytes.`);
    return Buffer.from(await files[shard].read(member.offset, member.size)).toString('utf8');
  };
  /** All labels of one kind of member; `undefined` if none says any. */
  const collected = async (from: string, labelOf: (sample: (typeof samples)[number]) => Promise<readonly [unknown, string]>) => {
    const collector = new LabelCollector(location);
    const missing: string[] = [];
    for (const sample of samples) {
      const [value, place] = await labelOf(sample);
      const before = collector.missing;
      collector.add(value, place);
      if (collector.missing > before) missing.push(place);
    }
    if (!collector.some) return undefined;
    for (const place of missing) leftOut.add('image without a label', 'images without a label', place);
    return { ...collector.finish(), from };
  };
  if (labels === 'names') {
    const found = await collected('names of the samples', async ({ key, shard, image }) => [
      path.posix.basename(key).replace(/[-_. ]*\d+$/, '') || undefined,
      where(shard, image),
    ]);
    return found ?? { ...unlabelled, from: 'none' };
  }
  const keys = new Set<string>();
  const records = labelColumn === undefined ? LABEL_KEYS : [labelColumn];
  const found = await collected(
    labelColumn === undefined ? '.cls and .json members' : `"${labelColumn}" of .json members`,
    async ({ shard, labels, image }) => {
      const [cls, json] = [labelColumn === undefined ? labels.get('cls') : undefined, labels.get('json')];
      const named = cls === undefined ? undefined : (await text(shard, cls)).trim();
      if (cls !== undefined && named !== '') return [named, where(shard, cls)];
      if (json === undefined) return [undefined, where(shard, image)];
      return [fieldOf(await text(shard, json), records, keys, where(shard, json)), where(shard, json)];
    },
  );
  if (found !== undefined) {
    const has = (ending: string): boolean => samples.some(({ labels }) => labels.has(ending));
    const both = has('cls') && has('json') && labelColumn === undefined;
    return { ...found, from: both || labelColumn !== undefined ? found.from : has('cls') ? '.cls members' : '.json members' };
  }
  const captions = samples.some(({ labels }) => labels.has('txt')) ? '; the .txt members are captions' : '';
  const hint = `labels are .cls, .json or .txt members of the same name${captions}`;
  const known = `the .json members have ${[...keys].slice(0, 8).join(', ') || 'no key'}; name the one of the class: --label-column`;
  const texts = samples.some(({ labels }) => labels.has('txt')) && labelColumn === undefined ? await classTexts(files, samples) : undefined;
  if (texts !== undefined) return (await collected('.txt members', async (sample) => [texts(sample), where(sample.shard, sample.image)]))!;
  if (labelColumn !== undefined)
    throw new ImageSourceError(
      location,
      `no .json member has "${labelColumn}"; ${keys.size === 0 ? 'there are none' : `they have ${[...keys].slice(0, 8).join(', ')}`}.`,
    );
  return { ...unlabelled, from: 'none', hint: keys.size > 0 ? known : hint };
}

/** The texts beside images, if they are names of classes: short, and fewer than images. */
async function classTexts(files: readonly FileSource[], samples: readonly (Sample & { shard: number })[]) {
  const found = new Map<TarMember, string>();
  const different = new Set<string>();
  for (const { shard, labels } of samples) {
    const member = labels.get('txt');
    if (member === undefined) continue;
    const text =
      member.size > MAX_TEXT_BYTES
        ? undefined
        : Buffer.from(await files[shard].read(member.offset, member.size))
            .toString('utf8')
            .trim();
    if (text === undefined || text.includes('\n')) return undefined;
    found.set(member, text);
    different.add(text);
  }
  return 2 * different.size > found.size ? undefined : ({ labels }: Sample) => found.get(labels.get('txt')!);
}

/** The first of the fields that a record has, of which `seen` gets the names. */
function fieldOf(content: string, fields: readonly string[], seen: Set<string>, where: string): unknown {
  let record: unknown;
  try {
    record = JSON.parse(content);
  } catch (cause) {
    throw new FormatError(where, 'it is not JSON.', { cause });
  }
  if (typeof record !== 'object' || record === null || Array.isArray(record)) return Array.isArray(record) ? undefined : record;
  for (const key of Object.keys(record)) if (seen.size < 64) seen.add(key);
  const values = record as Record<string, unknown>;
  const usable = (value: unknown): boolean => value !== undefined && value !== null && (typeof value !== 'object' || Array.isArray(value));
  const field = fields.find((name) => usable(values[name]));
  return field === undefined ? undefined : values[field];
}
