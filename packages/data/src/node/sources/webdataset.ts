/** WebDataset: tar files whose members belong together by their names. */
import path from 'node:path';
import { FormatError } from '@dit-moe/tensor-ops/io';
import { FileSource } from '@dit-moe/tensor-ops/io/node';
import { decodeImage } from '../pictures/decode-image.js';
import { ImageError } from '../pictures/image-error.js';
import { contentOf } from './content.js';
import {
  type ImageSource,
  ImageSourceError,
  type ImageSourceOptions,
  imageExtensions,
  LABEL_KEYS,
  LeftOutCounter,
} from './image-source.js';
import { LabelCollector } from './labels.js';
import { unreadable } from './locate.js';
import { chosenSplit, list } from './splits.js';
import { type TarMember, tarMembers } from './tar.js';
import { LABEL_ENDINGS, type Sample, samplesOf } from './webdataset-samples.js';

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
  const all: ShardSample[] = [];
  const endings = new Set<string>();
  const leftOut = new LeftOutCounter();
  const location = shards.length === 1 ? shards[0] : path.dirname(shards[0]);
  const close = async (): Promise<void> => void (await Promise.all(files.map((file) => file.close())));
  try {
    for (const [shard, name] of shards.entries()) {
      files.push(await opened(name));
      const members: TarMember[] = [];
      for await (const member of tarMembers(files[shard])) {
        if (member.offset !== undefined) members.push(member);
        else
          leftOut.add(
            'member that is no file of its own',
            'members that are no files of their own',
            `${path.basename(name)}: ${member.name}`,
          );
      }
      const found = samplesOf(path.basename(name), members, leftOut);
      if (found.length === 0) leftOut.add('shard without an image', 'shards without an image', path.basename(name));
      for (const sample of found) all.push({ ...sample, shard, classPath: sample.key });
      for (const member of members) endings.add(path.extname(member.name).toLowerCase());
    }
    if (all.length === 0) throw new ImageSourceError(shards[0] ?? '', 'there is no image in the tar files.');
    const { split, samples } = ofSplit(location, all, options.split, leftOut);
    const { numbers, names, from, hint } = await readLabels(location, files, samples, endings, options, leftOut);
    const keyOf = ({ shard, key }: ShardSample): string => `${path.basename(shards[shard])}/${key}`;
    return {
      location,
      kind: 'webdataset',
      count: samples.length,
      classNames: names,
      labelsFrom: from,
      labelHint: hint,
      split,
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

interface ShardSample extends Sample {
  shard: number;
  /** Its name in the archive, without the folder of a split. */
  classPath: string;
}

/** The samples of the split that is meant, where the members' folders are splits. */
function ofSplit(location: string, all: readonly ShardSample[], wanted: string | undefined, leftOut: LeftOutCounter) {
  const folders = new Set<string>();
  for (const { key } of all)
    for (let end = key.lastIndexOf('/'); end > 0 && !folders.has(key.slice(0, end)); end = key.lastIndexOf('/', end - 1))
      folders.add(key.slice(0, end));
  const keys = all.map(({ key }) => key);
  const { split, beside, below } = chosenSplit(location, keys, [...folders], wanted);
  if (split === undefined) return { split, samples: all };
  for (const key of beside) leftOut.add('image beside the splits', 'images beside the splits', key);
  const samples = all
    .map((sample) => ({ ...sample, classPath: below(sample.key) }))
    .filter((sample): sample is ShardSample => sample.classPath !== undefined);
  return { split, samples };
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
  samples: readonly ShardSample[],
  endings: ReadonlySet<string>,
  { labels = 'auto', labelColumn }: ImageSourceOptions,
  leftOut: LeftOutCounter,
): Promise<{ numbers: Int32Array; names: readonly string[]; from: string; hint?: string }> {
  if (labels === 'dataset.json' || labels === 'labels.csv')
    throw new ImageSourceError(location, `labels of tar files stand in their members, not in ${labels}.`);
  const unlabelled = { numbers: new Int32Array(samples.length).fill(-1), names: [] };
  if (labels === 'none') return { ...unlabelled, from: 'none' };
  const where = (shard: number, { name }: TarMember): string => `${path.basename(files[shard].name)}: ${name}`;
  const text = async (shard: number, member: TarMember): Promise<string> => {
    if (member.size > MAX_LABEL_BYTES) throw new ImageSourceError(where(shard, member), `a label of ${member.size} bytes.`);
    return Buffer.from(await files[shard].read(member.offset, member.size)).toString('utf8');
  };
  /** All labels of one kind of member; `undefined` if none says any. */
  const collected = async (from: string, labelOf: (sample: ShardSample) => Promise<readonly [unknown, string]>) => {
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
  const folderOf = ({ classPath }: ShardSample): string | undefined => (classPath.includes('/') ? classPath.split('/')[0] : undefined);
  if (labels === 'names' || labels === 'folders') {
    const nameOf = (sample: ShardSample) =>
      labels === 'folders' ? folderOf(sample) : path.posix.basename(sample.key).replace(/[-_. ]*\d+$/, '');
    const from = labels === 'folders' ? 'folders of the members' : 'names of the samples';
    const found = await collected(from, async (sample) => [nameOf(sample), where(sample.shard, sample.image)]);
    if (found === undefined) throw new ImageSourceError(location, `no image has a label by ${from}.`);
    return found;
  }
  const keys = new Set<string>();
  const records = labelColumn === undefined ? LABEL_KEYS : [labelColumn];
  const found = await collected(
    labelColumn === undefined ? '.cls and .json members' : `"${labelColumn}" of .json members`,
    async ({ shard, labels, image }) => {
      const [cls, json] = [labelColumn === undefined ? labels.get('cls') : undefined, labels.get('json')];
      const named = cls === undefined ? '' : (await text(shard, cls)).trim();
      if (cls !== undefined && named !== '') return [/^["[{]/.test(named) ? parsed(named, where(shard, cls)) : named, where(shard, cls)];
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
  const inFolders = [...new Set(samples.map(folderOf))].filter((name) => name !== undefined);
  const others = [...endings].filter((ending) => !LABEL_ENDINGS.includes(ending.slice(1)) && !imageExtensions.has(ending.slice(1)));
  const hint = [
    `labels are .cls, .json or .txt members of the same name${captions}`,
    ...(inFolders.length > 1 ? [`--labels folders: ${list(inFolders)}`] : []),
    ...(others.length > 0 ? [`there are ${list(others)}`] : []),
  ].join('; ');
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
async function classTexts(files: readonly FileSource[], samples: readonly ShardSample[]) {
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

function parsed(content: string, where: string): unknown {
  try {
    return JSON.parse(content);
  } catch (cause) {
    throw new FormatError(where, 'it is not JSON.', { cause });
  }
}

/** The first of the fields that a record has, of which `seen` gets the names; what is no record is the label itself. */
function fieldOf(content: string, fields: readonly string[], seen: Set<string>, where: string): unknown {
  const record = parsed(content, where);
  if (typeof record !== 'object' || record === null || Array.isArray(record)) return record;
  for (const key of Object.keys(record)) if (seen.size < 64) seen.add(key);
  const values = Object.entries(record).filter(([, value]) => value !== null);
  const found = fields.map((name) => values.find(([key]) => key === name) ?? values.find(([key]) => key.toLowerCase() === name));
  // A record of its own is a label only where nothing else is.
  const isRecord = (value: unknown): boolean => typeof value === 'object' && !Array.isArray(value);
  return (found.find((entry) => entry !== undefined && !isRecord(entry[1])) ?? found.find((entry) => entry !== undefined))?.[1];
}
