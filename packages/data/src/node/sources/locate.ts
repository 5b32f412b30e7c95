/** What a location names: one folder of images, or files of one kind and one split. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { Pace, sortedInTurns } from '../pace.js';
import { byName, ImageSourceError, type ImageSourceOptions, imageExtensions, type LeftOut, LeftOutCounter } from './image-source.js';
import { gapsBetween, list, missingShards, noSplit, type ShardSet, sameSplit, severalOf, shardSets } from './splits.js';

/** Most files that braces may stand for. */
const MAX_BRACES = 100_000;
/** Levels of folders below a location in which shards are looked for: `data/` of a hub's data set, `<configuration>/<split>/`. */
const DEPTH = 2;

type ShardKind = 'tar' | 'parquet' | 'npz' | 'idx';

/** A folder of images, or the files of a source in their order. */
export type Located = { split: string | undefined; leftOut: readonly LeftOut[] } & (
  | { kind: 'folder'; folder: string }
  | { kind: ShardKind; files: string[] }
);

/**
 * Finds what to open.
 * @throws ImageSourceError if nothing is there, or several things are and none is chosen
 */
export async function locate(location: string, { split }: ImageSourceOptions): Promise<Located> {
  if (/^\w+:\/\/|^pipe:/.test(location))
    throw new ImageSourceError(location, 'only files of this machine are read; download it first, or mount it.');
  const pattern = /[{*]/.test(location) && !(await exists(location));
  if (pattern)
    return chosen(
      location,
      (await expand(location)).map((file) => [file, file] as const),
      split,
      true,
    );
  const stat = await fs.stat(location).catch((error: unknown) => {
    throw new ImageSourceError(location, unreadable(error), { cause: error });
  });
  if (!stat.isDirectory()) {
    const file = [path.basename(location), location] as const;
    if (kindOf(location) === undefined) {
      if (isCompressedTar(location)) throw compressed(location);
      throw new ImageSourceError(location, 'expected a folder of images, or a .tar, .parquet, .npz or idx file.');
    }
    return chosen(location, [file], split === undefined || shardSets([file[0]])[0].split !== undefined ? split : 'none', true);
  }
  const found = await shardsIn(location);
  const at = (files: readonly string[]) => files.map((file) => [file, path.join(location, file)] as const);
  if (found.shards.length > 0) {
    if (found.below !== undefined)
      throw new ImageSourceError(location, `it holds both ${found.shards[0]} and images such as ${found.below}; name one of them.`);
    const located = chosen(location, at(found.shards), split, false);
    const beside = new LeftOutCounter();
    for (const image of found.images) beside.add('image beside the shards', 'images beside the shards', image);
    return { ...located, leftOut: [...located.leftOut, ...beside.all] };
  }
  const folder = { kind: 'folder', folder: location, split: undefined, leftOut: [] } as const;
  if (found.images.length > 0 || found.below !== undefined) return folder;
  if (found.arrays.length > 0) return chosen(location, at(found.arrays), split, false);
  if (found.compressed.length > 0) throw compressed(path.join(location, found.compressed[0]));
  return folder;
}

/** The files of the kind and split that are meant. */
function chosen(
  location: string,
  files: readonly (readonly [name: string, file: string])[],
  split: string | undefined,
  named: boolean,
): Located {
  const pathOf = new Map(files);
  const kinds = [...new Set(files.map(([name]) => kindOf(name)))];
  if (kinds.length > 1)
    throw new ImageSourceError(location, `it holds both ${kinds.map((kind) => kind ?? 'other').join(' and ')} files; name one kind.`);
  const [kind] = kinds;
  if (kind === undefined) {
    const first = files[0]?.[0] ?? '';
    throw isCompressedTar(first) ? compressed(first) : new ImageSourceError(location, 'expected .tar, .parquet, .npz or idx files.');
  }
  // Splits of arrays are told by the names in the files.
  if (kind === 'npz' || kind === 'idx') return { kind, files: [...pathOf.values()], split, leftOut: [] };
  const sets = shardSets(files.map(([name]) => name));
  let taken: ShardSet[] = sets;
  if (split !== undefined && split !== 'none') {
    taken = sets.filter((set) => (set.split !== undefined && sameSplit(set.split, split)) || set.name === split);
    // Folders in the archives may tell it.
    if (kind === 'tar' && sets.length === 1 && sets[0].split === undefined) taken = sets;
    if (taken.length === 0)
      throw noSplit(
        location,
        split,
        sets.map((set) => set.split ?? set.name),
      );
  } else if (split === undefined) {
    const splits = sets.map((set) => set.split ?? '').filter((name, i, all) => all.findIndex((other) => sameSplit(other, name)) === i);
    const example = path.join(path.dirname(pathOf.get(sets[0].files[0])!), `${path.basename(sets[0].name)}*`);
    if (splits.length > 1)
      throw severalOf(
        location,
        splits.map((name) => name || 'files of no split'),
        'splits',
        example,
      );
    if (sets.length > 1 && !named)
      throw severalOf(
        location,
        sets.map((set) => set.name),
        'sets of files',
        example,
      );
  }
  const names = taken.flatMap((set) => set.files).sort(byName);
  const leftOut = new LeftOutCounter();
  for (const shard of [...missingShards(names), ...(named ? [] : gapsBetween(names))])
    leftOut.add('shard that is missing', 'shards that are missing', shard);
  return {
    kind,
    files: names.map((name) => pathOf.get(name)!),
    split: split === 'none' ? undefined : taken[0].split,
    leftOut: leftOut.all,
  };
}

function kindOf(file: string): ShardKind | undefined {
  const name = path.basename(file).toLowerCase();
  if (name.endsWith('.tar')) return 'tar';
  if (name.endsWith('.parquet')) return 'parquet';
  if (name.endsWith('.npz')) return 'npz';
  return /idx\d-ubyte(\.gz)?$/.test(name) ? 'idx' : undefined;
}

const isCompressedTar = (file: string): boolean => /\.(tar\.\w+|tgz|tbz2?|txz|tzst)$/i.test(file);
const compressed = (file: string): ImageSourceError =>
  new ImageSourceError(file, 'compressed tar files cannot be read at random.', { hint: 'Decompress it; images do not shrink anyway.' });

interface Found {
  /** Relative to the root. */
  shards: string[];
  arrays: string[];
  compressed: string[];
  folders: string[];
  /** Images in the folder itself. */
  images: string[];
  /** An image in a folder below. */
  below?: string;
}

/** Shards of a folder, or if it has none, of those below it; and whether there are images. */
async function shardsIn(root: string, inside = '', depth = DEPTH): Promise<Found> {
  const found: Found = { shards: [], arrays: [], compressed: [], folders: [], images: [] };
  const entries = await fs.readdir(path.join(root, inside), { withFileTypes: true }).catch((error: unknown) => {
    // A folder below that cannot be listed, or whose name is not UTF-8, is no matter of shards.
    if (inside !== '') return [];
    throw new ImageSourceError(path.join(root, inside), unreadable(error), { cause: error });
  });
  const pace = new Pace();
  for (const entry of await sortedInTurns(entries, (a, b) => byName(a.name, b.name))) {
    if (pace.due) await pace.rest();
    if (entry.name.startsWith('.')) continue;
    const name = inside === '' ? entry.name : `${inside}/${entry.name}`;
    const stat = entry.isSymbolicLink() ? await fs.stat(path.join(root, name)).catch(() => entry) : entry;
    const kind = kindOf(entry.name);
    if (stat.isDirectory()) found.folders.push(name);
    else if (kind === 'tar' || kind === 'parquet') found.shards.push(name);
    else if (kind !== undefined) found.arrays.push(name);
    else if (isCompressedTar(entry.name)) found.compressed.push(name);
    else if (imageExtensions.has(path.extname(entry.name).slice(1).toLowerCase())) found.images.push(name);
  }
  if (depth === 0) return found;
  const own = found.shards.length > 0;
  for (const folder of found.folders) {
    const { shards, arrays, compressed, images, below } = await shardsIn(root, folder, depth - 1);
    found.below ??= images[0] ?? below;
    if (!own) {
      found.shards.push(...shards);
      found.arrays.push(...arrays);
      found.compressed.push(...compressed);
    }
    // Classes, of which there may be thousands: one tells.
    if (found.below !== undefined && found.shards.length === 0) break;
  }
  return found;
}

/** What braces and stars stand for; every file of braces has to be there. */
async function expand(location: string): Promise<string[]> {
  const names = braces(location, location);
  if (names.some((name) => name.includes('*'))) return (await Promise.all(names.map(starred))).flat();
  const there = await Promise.all(names.map(exists));
  const missing = names.filter((_, i) => !there[i]);
  if (missing.length > 0)
    throw new ImageSourceError(
      location,
      `${missing.length} of its ${names.length} files ${missing.length === 1 ? 'is' : 'are'} missing: ${list(missing)}.`,
    );
  return names;
}

/** `a-{00..03}.tar` and `{a,b}.tar`, also several of them, as a shell reads them. */
function braces(text: string, location: string): string[] {
  const [, before, inside, after] = /^(.*?)\{([^{}]*)\}(.*)$/s.exec(text) ?? [];
  if (before === undefined) return [text];
  const [, first, last] = /^(\d+)\.\.(\d+)$/.exec(inside) ?? [];
  const count = first === undefined ? 0 : Math.abs(Number(last) - Number(first)) + 1;
  const rest = braces(after, location);
  if (count * rest.length > MAX_BRACES)
    throw new ImageSourceError(location, `braces stand for ${count} files; at most ${MAX_BRACES} are opened.`);
  const step = Number(last) < Number(first) ? -1 : 1;
  const words =
    first === undefined
      ? inside.split(',')
      : Array.from({ length: count }, (_, i) => String(Number(first) + step * i).padStart(first.length, '0'));
  return words.flatMap((word) => rest.map((end) => before + word + end));
}

async function starred(location: string): Promise<string[]> {
  const [folder, pattern] = [path.dirname(location), path.basename(location)];
  if (folder.includes('*')) throw new ImageSourceError(location, 'stars stand for parts of file names only, not of folders.');
  const parts = pattern.split('*').map((part) => part.replace(/\W/g, '\\$&'));
  const matches = new RegExp(`^${parts.join('.*')}$`, 's');
  const names = await fs.readdir(folder).catch((error: unknown) => {
    throw new ImageSourceError(location, unreadable(error), { cause: error });
  });
  const found = names.filter((file) => matches.test(file)).sort(byName);
  if (found.length === 0) throw new ImageSourceError(location, 'no file has such a name.');
  return found.map((file) => path.join(folder, file));
}

const exists = (file: string): Promise<boolean> =>
  fs.stat(file).then(
    () => true,
    () => false,
  );

/** Why the file system refuses, in a sentence. */
export function unreadable(error: unknown): string {
  const reasons: Record<string, string> = {
    ...{
      ENOENT: 'it does not exist',
      ENOTDIR: 'a part of the path is no folder',
      EACCES: 'it may not be read',
      EPERM: 'it may not be read',
    },
    ...{
      ELOOP: 'its links lead in a circle',
      ENAMETOOLONG: 'the name is too long',
      EISDIR: 'it is a folder',
      EIO: 'the disk reports an error',
    },
    ...{ EMFILE: 'this process has too many files open (ulimit -n)', ESTALE: 'the network file system has lost it' },
  };
  const code = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
  return `${reasons[code] ?? `it cannot be read (${code})`}.`;
}
