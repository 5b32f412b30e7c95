/** Labels of image files that stand beside them: `dataset.json` of StyleGAN and EDM, tables, or the files' own names. */
import fs from 'node:fs/promises';
import path from 'node:path';
import Papa from 'papaparse';
import { Pace } from '../pace.js';
import { ImageSourceError, type ImageSourceOptions, LABEL_KEYS, type LeftOutCounter } from './image-source.js';
import { LabelCollector, type Labels } from './labels.js';
import { unreadable } from './locate.js';

/** Tables that are looked for, the first that is there. */
const TABLES = ['labels.csv', 'metadata.csv', 'labels.tsv', 'metadata.jsonl'] as const;
const FILE_KEYS = ['file_name', 'filename', 'file', 'path', 'image', 'image_path', 'image_id', 'img', 'name', 'id'];
/** Longest table that is read. */
const MAX_TABLE_BYTES = 2 ** 28;

export interface FileLabels extends Labels {
  from: string;
}

/**
 * Labels of the files with these keys, if something other than folders tells them.
 * @param folders in which tables are looked for: that of the images, and that around a split
 * @throws ImageSourceError if what was asked for is not there, or cannot be understood
 */
export async function labelsBeside(
  folders: readonly string[],
  keys: readonly string[],
  { labels = 'auto', labelColumn }: ImageSourceOptions,
  leftOut: LeftOutCounter,
): Promise<FileLabels | undefined> {
  const [folder] = folders;
  if (labels === 'folders' || labels === 'none') return undefined;
  if (labels === 'names') return collected(folder, keys, 'names of the files', (key) => classInName(key), leftOut);
  const wanted: readonly string[] = { auto: ['dataset.json', ...TABLES], 'dataset.json': ['dataset.json'], 'labels.csv': TABLES }[labels];
  for (const [name, file] of wanted.flatMap((name) => folders.map((place) => [name, path.join(place, name)] as const))) {
    const text = await readText(file);
    if (text === undefined) continue;
    const rows = name === 'dataset.json' ? pairsOf(text, file) : await tableOf(text, name, file, labelColumn);
    if (rows !== undefined || labels !== 'auto') return matched(folder, keys, name, rows ?? [], leftOut);
    leftOut.add('table without labels', 'tables without labels', name);
  }
  if (labels === 'auto') return undefined;
  throw new ImageSourceError(folder, `there is no ${wanted.join(', ')} in it.`);
}

/** Names of the kind `dataset.json` holds images of anyone: the file's name without a number at its end. */
function classInName(key: string): string | undefined {
  const stem = path.posix.parse(key).name;
  const name = stem.replace(/[-_. ]*\(?\d+\)?$/, '');
  return name === stem || name === '' ? undefined : name;
}

async function readText(file: string): Promise<string | undefined> {
  try {
    const { size } = await fs.stat(file);
    if (size > MAX_TABLE_BYTES) throw new ImageSourceError(file, `it has ${size} bytes; at most ${MAX_TABLE_BYTES} are read.`);
    return (await fs.readFile(file, 'utf8')).replace(/^\ufeff/, '');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    if (ImageSourceError.isInstance(error)) throw error;
    throw new ImageSourceError(file, unreadable(error), { cause: error });
  }
}

type Row = readonly [file: string, label: unknown];

/** `{"labels": [["00000/img.png", 3], ...]}`, or a record, or null for none. */
function pairsOf(text: string, file: string): Row[] | undefined {
  let labels: unknown;
  try {
    labels = (JSON.parse(text) as { labels?: unknown } | null)?.labels;
  } catch (cause) {
    throw new ImageSourceError(file, 'it is not JSON.', { cause });
  }
  if (labels === undefined || labels === null) return undefined;
  const pairs = Array.isArray(labels) ? labels : Object.entries(labels as object);
  if (!pairs.every((pair) => Array.isArray(pair) && pair.length === 2 && typeof pair[0] === 'string'))
    throw new ImageSourceError(file, 'expected "labels": [[file, class], ...].');
  return pairs as Row[];
}

/** Lines of a table, cut into cells; some thousand at a time. */
function cellsOf(text: string): Promise<string[][]> {
  const rows: string[][] = [];
  return new Promise((resolve) =>
    Papa.parse<string[]>(text, {
      skipEmptyLines: 'greedy',
      delimitersToGuess: [',', '\t', ';'],
      chunkSize: 2 ** 18,
      chunk({ data }: Papa.ParseResult<string[]>, parser: Papa.Parser) {
        for (const row of data) rows.push(row);
        parser.pause();
        setImmediate(() => parser.resume());
      },
      complete: () => resolve(rows),
    }),
  );
}

async function tableOf(text: string, name: string, file: string, labelColumn: string | undefined): Promise<Row[] | undefined> {
  if (name.endsWith('.jsonl')) return linesOf(text, file, labelColumn);
  const rows = await cellsOf(text);
  const [first] = rows;
  if (first === undefined) return undefined;
  const columns = first.map((cell) => cell.trim());
  const lower = columns.map((column) => column.toLowerCase());
  const label = labelColumn === undefined ? lower.findIndex((column) => LABEL_KEYS.includes(column)) : columns.indexOf(labelColumn);
  const image = FILE_KEYS.map((key) => lower.indexOf(key)).find((column) => column >= 0) ?? -1;
  if (labelColumn !== undefined && label < 0)
    throw new ImageSourceError(file, `it has no column "${labelColumn}"; it has ${columns.join(', ')}.`);
  if (label >= 0 || image >= 0) {
    // Captions and the like: a table, but not of labels.
    if (label < 0 && name.startsWith('metadata')) return undefined;
    const other = (taken: number): number => columns.findIndex((_, i) => i !== taken);
    const [from, to] = [image >= 0 ? image : other(label), label >= 0 ? label : columns.length === 2 ? other(image) : -1];
    if (to < 0)
      throw new ImageSourceError(file, `no column of labels is known among ${columns.join(', ')}.`, { hint: 'Name it: --label-column.' });
    return rows.slice(1).map((row) => [(row[from] ?? '').trim(), row[to]]);
  }
  if (columns.length !== 2) throw new ImageSourceError(file, 'expected two columns, file and label, or a first line that names them.');
  return rows.map((row) => [(row[0] ?? '').trim(), row[1]]);
}

function linesOf(text: string, file: string, labelColumn: string | undefined): Row[] | undefined {
  const rows = text
    .split('\n')
    .map((line, i) => [line.trim(), i] as const)
    .filter(([line]) => line !== '')
    .map(([line, i]) => {
      try {
        return JSON.parse(line) as Record<string, unknown>;
      } catch (cause) {
        throw new ImageSourceError(file, `line ${i + 1} is not JSON.`, { cause });
      }
    });
  const has = (key: string): boolean => rows.some((row) => row?.[key] !== undefined && row[key] !== null);
  const [image, label] = [FILE_KEYS.find(has), labelColumn ?? LABEL_KEYS.find(has)];
  if (image === undefined || label === undefined || !has(label)) return undefined;
  return rows.map((row) => [String(row[image] ?? ''), row[label]]);
}

/**
 * Labels of rows by their files; a file is meant by its key, also behind folders of another machine (`/data/cats/0.png`), or by its name
 * without ending where that is the only one.
 */
async function matched(
  folder: string,
  keys: readonly string[],
  name: string,
  rows: readonly Row[],
  leftOut: LeftOutCounter,
): Promise<FileLabels> {
  const pace = new Pace();
  const byKey = new Map<string, number>();
  const stems = new Map<string, number>();
  for (const [i, key] of keys.entries()) {
    byKey.set(key, i);
    for (const short of [path.posix.basename(key), path.posix.parse(key).name]) stems.set(short, stems.has(short) ? -1 : i);
    if (pace.due) await pace.rest();
  }
  const indexOf = (file: string): number => {
    let key = path.posix.normalize(file.replaceAll('\\', '/'));
    const whole = byKey.get(key) ?? stems.get(key);
    for (let cut = key.indexOf('/'); whole === undefined && cut >= 0; cut = key.indexOf('/')) {
      key = key.slice(cut + 1);
      const index = byKey.get(key);
      if (index !== undefined) return index;
    }
    return whole ?? -1;
  };
  const found = new Map<number, unknown>();
  for (const [file, label] of rows) {
    if (pace.due) await pace.rest();
    const index = indexOf(file);
    if (index < 0) leftOut.add(`row of ${name} without an image`, `rows of ${name} without an image`, file);
    else if (found.has(index) && found.get(index) !== label)
      throw new ImageSourceError(
        path.join(folder, name),
        `it has two labels for ${file}, ${String(found.get(index))} and ${String(label)}.`,
      );
    else found.set(index, label);
  }
  return collected(folder, keys, name, (_, i) => found.get(i), leftOut);
}

async function collected(
  folder: string,
  keys: readonly string[],
  from: string,
  labelOf: (key: string, index: number) => unknown,
  leftOut: LeftOutCounter,
): Promise<FileLabels> {
  const collector = new LabelCollector(folder);
  const pace = new Pace();
  for (const [i, key] of keys.entries()) {
    if (pace.due) await pace.rest();
    const before = collector.missing;
    collector.add(labelOf(key, i), key);
    if (collector.missing > before) leftOut.add('image without a label', 'images without a label', key);
  }
  if (!collector.some) throw new ImageSourceError(folder, `no image has a label by ${from}.`);
  return { ...collector.finish(), from };
}
