/** Splits of a data set, and what shards belong together, told by the names of folders and files. */
import path from 'node:path';
import { byName, ImageSourceError } from './image-source.js';

/** Words that name a split, and the word that stands for all of a kind. */
const SPLITS: Readonly<Record<string, string>> = {
  ...{ train: 'train', training: 'train', trainval: 'train', test: 'test', testing: 'test', t10k: 'test' },
  ...{ val: 'validation', valid: 'validation', validation: 'validation', dev: 'validation', eval: 'validation' },
  ...{ holdout: 'holdout', extra: 'extra', unlabeled: 'unlabeled', unlabelled: 'unlabeled' },
};

/** Whether a name is one of a split. */
export const isSplit = (name: string): boolean => Object.hasOwn(SPLITS, name.toLowerCase());

/** Whether two names are of the same split: `val` and `validation` are. */
export function sameSplit(a: string, b: string): boolean {
  const canonical = (word: string): string => (isSplit(word) ? SPLITS[word.toLowerCase()] : word.toLowerCase());
  return canonical(a) === canonical(b);
}

/** Parts of a name between separators, and before numbers: `train`, `2017` of `train2017`. */
const wordsOf = (name: string): string[] => name.split(/[-_. ]+|(?<=[a-z])(?=\d)/i);

/** The word in a name that says a split, such as `val` of `val2017`. */
const splitIn = (name: string): string | undefined => wordsOf(name).find(isSplit);

/**
 * The folders that are splits, and the word that says so. Of folders beside each other those that are named so (`train`), and those
 * whose names differ in such a word only (`train2017` and `val2017`; classes `bullet_train` and `test_tube` differ in more).
 * @param folders with `/`
 */
function splitFolders(folders: readonly string[]): Map<string, string> {
  const others = (folder: string): string => {
    const words = wordsOf(path.posix.basename(folder));
    return `${path.posix.dirname(folder)}/${words.toSpliced(words.findIndex(isSplit), 1).join(' ').toLowerCase()}`;
  };
  const named = folders.flatMap((folder) => {
    const word = splitIn(path.posix.basename(folder));
    return word === undefined ? [] : [{ folder, word, others: others(folder) }];
  });
  const wordsBeside = new Map<string, Set<string>>();
  for (const { word, others } of named) wordsBeside.set(others, (wordsBeside.get(others) ?? new Set()).add(word.toLowerCase()));
  return new Map(
    named
      .filter(({ folder, others }) => isSplit(path.posix.basename(folder)) || wordsBeside.get(others)!.size > 1)
      .map(({ folder, word }) => [folder, word]),
  );
}

/** One of several splits, or the only one. */
interface ChosenSplit {
  /** As names say it; `undefined` if there are none. */
  split: string | undefined;
  /** Its folder, if it is in one. */
  folder: string | undefined;
  /** Paths that are in no split. */
  beside: readonly string[];
  /** A path without its folder of the split and the folders that all paths have above it; `undefined` if it is not in the split. */
  below(path: string): string | undefined;
}

/**
 * The split that is meant where folders are splits: `train/cat/0.png`, `images/val2017/0.jpg`, `cat/test/0.png`.
 * @param paths of the images, with `/`
 * @param folders of the images, those above included
 * @throws ImageSourceError if there are several and none is chosen, or not the chosen one
 */
export function chosenSplit(
  location: string,
  paths: readonly string[],
  folders: readonly string[],
  wanted: string | undefined,
): ChosenSplit {
  const all: ChosenSplit = { split: undefined, folder: undefined, beside: [], below: (path) => path };
  if (wanted === 'none') return all;
  const top = folders.filter((folder) => !folder.includes('/'));
  const splits = splitFolders(folders);
  for (const folder of top) if (wanted !== undefined && sameSplit(folder, wanted)) splits.set(folder, folder);
  if (splits.size === 0 && wanted === undefined) return all;
  const folderOf = (file: string): string | undefined => {
    for (let end = file.indexOf('/'); end >= 0; end = file.indexOf('/', end + 1))
      if (splits.has(file.slice(0, end))) return file.slice(0, end);
    return undefined;
  };
  const used = new Set<string>();
  const beside: string[] = [];
  for (const file of paths) {
    const folder = folderOf(file);
    if (folder !== undefined) used.add(folder);
    else beside.push(file);
  }
  const words = [...new Set([...used].map((folder) => splits.get(folder)!))];
  // A class may be called so, too.
  if (wanted === undefined && words.length < 2 && (words.length === 0 || beside.some((file) => file.includes('/')))) return all;
  if (wanted === undefined && words.length > 1) throw severalOf(location, words.sort(byName), 'splits');
  const taken = [...used].filter((folder) => wanted === undefined || sameSplit(splits.get(folder)!, wanted));
  if (taken.length === 0) throw noSplit(location, wanted!, words.length > 0 ? words : top);
  const above = taken.every((folder) => path.posix.dirname(folder) === path.posix.dirname(taken[0]));
  const takenFolders = new Set(taken);
  return {
    ...{ split: splits.get(taken[0]), folder: taken.length === 1 ? taken[0] : undefined, beside },
    below(file) {
      const folder = takenFolders.has(file) ? file : folderOf(file);
      if (folder === undefined || !takenFolders.has(folder)) return undefined;
      return path.posix.join(above ? '' : path.posix.dirname(folder), file.slice(folder.length + 1));
    },
  };
}

export const list = (names: readonly string[]): string =>
  [...new Set(names)].slice(0, 8).join(', ') + (names.length > 8 ? ', ...' : '') || 'none';

/** @param example files of one of them */
export const severalOf = (location: string, names: readonly string[], what: string, example?: string): ImageSourceError =>
  new ImageSourceError(location, `it holds several ${what} (${list(names)}).`, {
    hint: `Say which: --split ${names.find(isSplit) ?? names[0]}${example === undefined ? '' : `, or name the files: ${example}`}. To take all: --split none.`,
  });

export const noSplit = (location: string, wanted: string, names: readonly string[]): ImageSourceError =>
  new ImageSourceError(location, `it has no split "${wanted}", but: ${list(names)}`, { hint: 'To take all: --split none.' });

/** Files that belong together. */
export interface ShardSet {
  /** The name without what numbers the shards: `imagenet1k-train` of `imagenet1k-train-0001.tar`. */
  name: string;
  /** As the name or a folder above says it, such as `train`. */
  split: string | undefined;
  files: string[];
}

/** Numbers, hashes and words behind a separator that number shards, and how Spark names its compression. */
const SHARD =
  /([-_. ]+((of|part|shard|chunk|c)?\d+|of|part|shard|chunk|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?=[a-f]*\d)[0-9a-f]{8,}|snappy|zstd|gz))+$/i;

/**
 * Shards in sets: names of one set are equal but for their numbers.
 * @param files relative to the location, with `/`
 */
export function shardSets(files: readonly string[]): ShardSet[] {
  const sets = new Map<string, ShardSet>();
  // A number written to a word, such as `data3`, numbers shards only if its neighbours are there, too: `cifar10` and `cifar100` are two sets.
  const attached = new Map<string, Map<string, string[]>>();
  const put = (name: string, split: string | undefined, file: string): void => {
    const set = sets.get(name);
    if (set === undefined) sets.set(name, { name, split, files: [file] });
    else set.files.push(file);
  };
  const splitOf = (file: string): string | undefined => {
    const [name, ...above] = file.split('/').reverse();
    return splitIn(name) ?? above.find(isSplit);
  };
  for (const file of files) {
    const stem = `.${file.replace(/\.\w+$/, '')}`.replaceAll('/', '/.').replace(SHARD, '').replaceAll('/.', '/').slice(1);
    const [, word, number] = /^(.*[^\d])(\d+)$/.exec(stem) ?? [];
    if (word === undefined || /[-_. /]$/.test(word)) put(stem, splitOf(file), file);
    else {
      const numbers = attached.get(word) ?? new Map<string, string[]>();
      attached.set(word, numbers.set(number, [...(numbers.get(number) ?? []), file]));
    }
  }
  for (const [word, numbers] of attached) {
    const sorted = [...numbers.keys()].map(Number).sort((a, b) => a - b);
    const shards = sorted[0] <= 1 && sorted.length > 1 && sorted.every((n, i) => n === sorted[0] + i);
    for (const [number, found] of numbers)
      for (const file of found) put(shards || isSplit(word) ? word : word + number, splitOf(file), file);
  }
  return [...sets.values()].sort((a, b) => byName(a.name, b.name));
}

/**
 * Numbers that are left out between those of the shards, such as `00002.tar` of `00000.tar`, `00001.tar`, `00003.tar`. Most are there, or
 * they count no shards but say dates or sizes.
 */
export function gapsBetween(files: readonly string[]): string[] {
  const found = new Map<string, string[]>();
  for (const file of files) {
    const [, before, number, after] = /^(.*?)(\d{1,9})(\.\w+)$/.exec(file) ?? [];
    if (before === undefined) continue;
    const [id, texts] = [`${before}\0${after}`, found.get(`${before}\0${after}`)];
    if (texts === undefined) found.set(id, [number]);
    else texts.push(number);
  }
  return [...found].flatMap(([id, texts]) => {
    const [before, after] = id.split('\0');
    const digits = Math.max(0, ...texts.filter((text) => text.startsWith('0')).map((text) => text.length));
    const numbers = new Set(texts.map(Number));
    const first = Math.min(...numbers);
    const count = Math.max(...numbers) - first + 1;
    if (count > 2 * numbers.size) return [];
    return Array.from({ length: count }, (_, i) => i + first)
      .filter((n) => !numbers.has(n))
      .map((n) => `${before}${String(n).padStart(digits, '0')}${after}`);
  });
}

/** Shards that names such as `train-00002-of-00008` say are missing. */
export function missingShards(files: readonly string[]): string[] {
  const found = new Map<string, Set<number>>();
  for (const file of files) {
    const [, before, number, total, after] = /^(.*?)(\d+)-of-(\d+)(.*)$/.exec(file) ?? [];
    if (before === undefined || Number(total) > 1_000_000) continue;
    const id = `${before}\0${total}\0${number.length}\0${after.replace(/^-[0-9a-f]+/, '')}`;
    found.set(id, (found.get(id) ?? new Set()).add(Number(number)));
  }
  return [...found].flatMap(([id, numbers]) => {
    const [before, total, digits, after] = id.split('\0');
    // Counted from 0, or from 1 if the last number says so.
    const first = numbers.has(Number(total)) ? 1 : 0;
    return Array.from({ length: Number(total) }, (_, i) => i + first)
      .filter((n) => !numbers.has(n))
      .map((n) => `${before}${String(n).padStart(Number(digits), '0')}-of-${total}${after}`);
  });
}
