/** Splits of a data set, and what shards belong together, told by the names of folders and files. */
import { byName } from './image-source.js';

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

/** Files that belong together. */
export interface ShardSet {
  /** The name without what numbers the shards: `imagenet1k-train` of `imagenet1k-train-0001.tar`. */
  name: string;
  /** As the name or a folder above says it, such as `train`. */
  split: string | undefined;
  files: string[];
}

/** Numbers, hashes and words behind a separator that number shards. */
const SHARD = /([-_. ]+((of|part|shard|chunk)?\d+|of|part|shard|chunk|(?=[a-f]*\d)[0-9a-f]{8,}))+$/i;

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
    return name.split(/[-_. ]+|(?<=[a-z])(?=\d)/i).find(isSplit) ?? above.find(isSplit);
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
