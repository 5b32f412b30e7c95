/**
 * The files of images below a folder. Every folder is read once, by its real place: a link to one that is in the set already, or to
 * one that the set lies in, is not followed. Names that are not UTF-8 are read, too, and shown with `\xE9` for their bytes.
 */
import { Buffer } from 'node:buffer';
import fs from 'node:fs/promises';
import path from 'node:path';
import { Pace, sortedInTurns } from '../pace.js';
import { byName, ImageSourceError, imageExtensions, type LeftOutCounter, unreadExtensions } from './image-source.js';
import { unreadable } from './locate.js';

export interface ImageFiles {
  /** Paths of the images below the folder, with `/`, in order. */
  keys: string[];
  /** Where those lie whose names are not UTF-8. */
  odd: ReadonlyMap<string, Buffer>;
  /** Paths of all folders below it, with `/`, in order. */
  folders: string[];
}

/** Folders that programs leave behind. */
const JUNK: ReadonlySet<string> = new Set(['__MACOSX', '@eaDir']);

/** What describes data sets rather than being data; nobody misses it. */
const TEXTS = /^((readme|licen[cs]e|copying|citation)([._].*)?|dataset\.json|labels\.[ct]sv|metadata\.(csv|jsonl))$/i;

/** Lists images; hidden files and folders do not count. */
export async function walkImages(root: string, leftOut: LeftOutCounter): Promise<ImageFiles> {
  const keys: string[] = [];
  const odd = new Map<string, Buffer>();
  const folders: string[] = [];
  const seen = new Set<string>();
  const links: { key: string; at: string | Buffer; id: string }[] = [];
  const realRoot = await fs.realpath(root).catch((error: unknown) => {
    throw new ImageSourceError(root, unreadable(error), { cause: error });
  });

  const pace = new Pace();
  const visit = async (at: string | Buffer, below: string): Promise<void> => {
    seen.add(idOf(await fs.stat(at)));
    if (below !== '') folders.push(below.slice(0, -1));
    for (const { name, shown, entry } of await namesIn(at)) {
      if (pace.due) await pace.rest();
      if (shown.startsWith('.') || JUNK.has(shown)) continue;
      const [key, place] = [below + shown, typeof name === 'string' && typeof at === 'string' ? path.join(at, name) : joined(at, name)];
      if (typeof name !== 'string') leftOut.add('name that is not UTF-8, taken', 'names that are not UTF-8, taken', key);
      const stat = entry.isSymbolicLink() ? await fs.stat(place).catch(() => undefined) : undefined;
      if ((stat ?? entry).isDirectory()) {
        if (stat === undefined) await visit(place, `${key}/`);
        else links.push({ key, at: place, id: idOf(stat) });
        continue;
      }
      const ending = path.extname(shown).slice(1).toLowerCase();
      if (imageExtensions.has(ending)) {
        keys.push(key);
        if (typeof place !== 'string') odd.set(key, place);
      } else if (unreadExtensions.has(ending)) leftOut.add('file of a format that is not read', 'files of formats that are not read', key);
      else if (!TEXTS.test(shown)) leftOut.add('file that is no image', 'files that are no images', key);
    }
  };

  try {
    await visit(root, '');
    for (let link = links.shift(); link !== undefined; link = links.shift()) {
      const target = await fs.realpath(link.at);
      if (seen.has(link.id) || `${realRoot}/`.startsWith(`${target}/`))
        leftOut.add('link to a folder that is in the set already', 'links to folders that are in the set already', link.key);
      else await visit(link.at, `${link.key}/`);
    }
  } catch (error) {
    if (error instanceof ImageSourceError) throw error;
    throw new ImageSourceError((error as NodeJS.ErrnoException).path ?? root, unreadable(error), { cause: error });
  }
  return { keys: await sortedInTurns(keys, byName), odd, folders: await sortedInTurns(folders, byName) };
}

const idOf = ({ dev, ino }: { dev: number; ino: number }): string => `${dev}:${ino}`;
const joined = (at: string | Buffer, name: string | Buffer): Buffer =>
  Buffer.concat([Buffer.from(at), Buffer.from('/'), Buffer.from(name)]);

interface Named {
  /** Bytes if it is not UTF-8. */
  name: string | Buffer;
  shown: string;
  entry: { isSymbolicLink(): boolean; isDirectory(): boolean };
}

/** Entries in order of their names. */
async function namesIn(folder: string | Buffer): Promise<Named[]> {
  const plain = await fs.readdir(folder, { withFileTypes: true });
  const entries: Named[] = plain.some(({ name }) => name.includes('\ufffd'))
    ? (await fs.readdir(folder, { withFileTypes: true, encoding: 'buffer' })).map((entry) => {
        const bytes = entry.name as unknown as Buffer;
        const text = bytes.toString('utf8');
        if (Buffer.from(text).equals(bytes)) return { name: text, shown: text, entry };
        return {
          name: bytes,
          shown: bytes.toString('latin1').replace(/[\x80-\xff]/g, (c) => `\\x${c.charCodeAt(0).toString(16).toUpperCase()}`),
          entry,
        };
      })
    : plain.map((entry) => ({ name: entry.name, shown: entry.name, entry }));
  return sortedInTurns(entries, (a, b) => byName(a.shown, b.shown));
}
