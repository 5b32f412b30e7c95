/** Parquet files as the Hugging Face `datasets` library writes images: a column of `{bytes, path}` records, labels beside it. */
import fs from 'node:fs/promises';
import path from 'node:path';
import type { AsyncBuffer, FileMetaData } from 'hyparquet';
import { decodeImage } from '../pictures/decode-image.js';
import { ImageError } from '../pictures/image-error.js';
import { contentOf } from './content.js';
import { type ImageSource, ImageSourceError, type ImageSourceOptions, LABEL_KEYS, LeftOutCounter } from './image-source.js';
import { LabelCollector, MAX_CLASSES } from './labels.js';
import { unreadable } from './locate.js';
import { list } from './splits.js';

/** Row groups of images that stay in memory: the one being read, and the one before it, since readers run a little ahead. */
const ROW_GROUPS_KEPT = 2;

interface Table {
  file: AsyncBuffer;
  metadata: FileMetaData;
  name: string;
  /** First row of each row group in the whole source, and the end. */
  starts: number[];
}

/**
 * Opens parquet files in the order given. Labels are read at once; images by row group, so reading in order is fast and reading at
 * random is not. Labels are numbers or names; names of numbers come from the metadata of `datasets`. Keys are `<file name>/<row>`.
 * @throws ImageSourceError if a file is missing or damaged, has no image column, or has no row
 */
export async function openParquet(files: readonly string[], options: ImageSourceOptions = {}): Promise<ImageSource> {
  const handles: fs.FileHandle[] = [];
  const close = async (): Promise<void> => void (await Promise.all(handles.map((handle) => handle.close())));
  const location = files.length === 1 ? files[0] : path.dirname(files[0]);
  const tables: Table[] = [];
  const labels = new LabelCollector(location);
  const leftOut = new LeftOutCounter();
  let columns: Columns | undefined;
  let rows = 0;
  try {
    for (const name of files) {
      const handle = await fs.open(name, 'r').catch((error: unknown) => {
        throw new ImageSourceError(name, unreadable(error), { cause: error });
      });
      handles.push(handle);
      const file = await bufferOf(handle);
      const { parquetMetadataAsync } = await import('hyparquet');
      const metadata = await parquetMetadataAsync(file).catch((cause: Error) => {
        throw new ImageSourceError(name, `it cannot be read as parquet (${cause.message}).`, { cause });
      });
      checkChunks(name, file.byteLength, metadata);
      const found = columnsOf(name, metadata, options);
      if (columns !== undefined && (found.image !== columns.image || found.label !== columns.label))
        throw new ImageSourceError(
          name,
          `its columns of images and labels, ${found.image} and ${found.label ?? 'none'}, are not those of ${files[0]}, ${columns.image} and ${columns.label ?? 'none'}.`,
        );
      if (columns !== undefined && found.classNames.join('\0') !== columns.classNames.join('\0'))
        throw new ImageSourceError(
          name,
          `its classes (${list(found.classNames)}) are not those of ${files[0]} (${list(columns.classNames)}), so that one number means two.`,
        );
      columns = found;
      const starts = [rows];
      for (const group of metadata.row_groups) starts.push(starts.at(-1)! + Number(group.num_rows));
      rows = starts.at(-1)!;
      const table = { file, metadata, name, starts };
      tables.push(table);
      for (let group = 0; group + 1 < starts.length; group++) {
        const values = found.label === undefined ? [] : await readGroup(table, group, found.label);
        for (let row = starts[group]; row < starts[group + 1]; row++) {
          const where = `${path.basename(name)}/${row - starts[0]}`;
          const before = labels.missing;
          labels.add(values[row - starts[group]], where);
          if (found.label !== undefined && labels.missing > before) leftOut.add('image without a label', 'images without a label', where);
        }
      }
    }
    if (columns === undefined || rows === 0) throw new ImageSourceError(files[0] ?? '', 'it has no row.');
  } catch (error) {
    await close();
    throw error;
  }
  const { image, label, others } = columns;
  const { numbers, names } = labels.finish();
  const classNames = names.length > 0 ? names : columns.classNames;
  const kept = new Map<string, Promise<unknown[]>>();
  const tableOf = (index: number): Table => tables.find(({ starts }) => index < starts.at(-1)!)!;
  const key = (index: number): string => `${path.basename(tableOf(index).name)}/${index - tableOf(index).starts[0]}`;
  return {
    location,
    kind: 'parquet',
    count: rows,
    classNames,
    labelsFrom: label === undefined || !labels.some ? 'none' : `column "${label}"`,
    labelHint:
      others.length === 0 ? undefined : `there are the columns ${others.slice(0, 8).join(', ')}; name the one of the class: --label-column`,
    leftOut: leftOut.all,
    emptyClasses: [],
    endings: new Set(),
    key,
    label: (index) => numbers[index],
    async picture(index, decoding) {
      const table = tableOf(index);
      const group = table.starts.findIndex((start, i) => index >= start && index < (table.starts[i + 1] ?? 0));
      const id = `${table.name}:${group}`;
      let values = kept.get(id);
      if (values === undefined) {
        values = readGroup(table, group, image);
        kept.set(id, values);
        for (const old of [...kept.keys()].slice(0, -ROW_GROUPS_KEPT)) kept.delete(old);
      }
      const cells = await values.catch((error: Error) => {
        throw new ImageError(key(index), `its row group ${group} cannot be read (${(error.cause as Error).message}).`, { cause: error });
      });
      const cell = cells[index - table.starts[group]] as { bytes?: unknown } | Uint8Array | null | undefined;
      const bytes = cell instanceof Uint8Array ? cell : cell?.bytes;
      if (!(bytes instanceof Uint8Array))
        throw new ImageError(key(index), 'the row has no bytes; images kept as paths elsewhere are not read.');
      return decodeImage(bytes, key(index), decoding);
    },
    content: () => contentOf(tables.flatMap(({ name, metadata }) => piecesOf(name, metadata))),
    close,
  };
}

/**
 * One column of one row group.
 * @throws ImageSourceError naming file and row group if it is damaged, by whatever the reader throws of it
 */
async function readGroup({ file, metadata, name, starts }: Table, group: number, column: string): Promise<unknown[]> {
  const [rowStart, rowEnd] = [starts[group] - starts[0], starts[group + 1] - starts[0]];
  // Loaded here: its decompressors ask for memory of their own, which folders of images do without.
  const [{ parquetReadObjects }, { compressors }] = await Promise.all([import('hyparquet'), import('hyparquet-compressors')]);
  try {
    const records = await parquetReadObjects({ file, metadata, columns: [column], rowStart, rowEnd, utf8: false, compressors });
    if (records.length !== rowEnd - rowStart) throw new Error(`${records.length} of ${rowEnd - rowStart} rows`);
    return records.map((record) => record[column]);
  } catch (error) {
    const cause = error instanceof Error ? error : new Error(String(error));
    throw new ImageSourceError(name, `its row group ${group} is damaged (column "${column}": ${cause.message}).`, { cause });
  }
}

/** All that stands in a file: its row groups, and what describes them. */
function piecesOf(file: string, metadata: FileMetaData): { file: string; offset?: number; length?: number }[] {
  const chunks = metadata.row_groups.flatMap(({ columns }) => columns.map(({ meta_data: chunk }) => chunk));
  return [
    { file },
    ...chunks.flatMap((chunk) => {
      if (chunk === undefined) return [];
      const offset = Number(chunk.dictionary_page_offset ?? chunk.data_page_offset);
      const length = Number(chunk.total_compressed_size);
      return Number.isSafeInteger(offset) && length >= 0 && length < 2 ** 48 ? [{ file, offset, length }] : [];
    }),
  ];
}

async function read(handle: fs.FileHandle, from: number, end: number): Promise<ArrayBuffer> {
  const length = end - from;
  if (!(from >= 0 && length >= 0)) throw new Error(`bytes ${from} to ${end} are not in it`);
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(bytes, done, length - done, from + done);
    if (bytesRead === 0) throw new Error(`it ends at byte ${from + done}`);
    done += bytesRead;
  }
  return bytes.buffer;
}

/**
 * Checks where the columns of a file say that they lie, before the reader starts to read several of them at once.
 * @throws ImageSourceError naming the row group
 */
function checkChunks(name: string, size: number, { row_groups: groups, schema }: FileMetaData): void {
  const names = new Set(schema.map((element) => element.name));
  for (const [group, { columns, num_rows: rows }] of groups.entries())
    for (const { meta_data: chunk } of columns) {
      const offsets = [chunk?.dictionary_page_offset ?? chunk?.data_page_offset, chunk?.data_page_offset].map(Number);
      const length = Number(chunk?.total_compressed_size);
      const inside = offsets.every((offset) => offset >= 0 && offset <= size) && length >= 0 && Math.min(...offsets) + length <= size;
      if (chunk === undefined || !inside || !(Number(rows) >= 0) || !chunk.path_in_schema.every((part) => names.has(part)))
        throw new ImageSourceError(name, `it is damaged: the columns of its row group ${group} do not lie in it.`);
    }
}

async function bufferOf(handle: fs.FileHandle): Promise<AsyncBuffer> {
  const { size } = await handle.stat();
  return {
    byteLength: size,
    slice(start, end = size) {
      const bytes = read(handle, start < 0 ? size + start : start, Math.min(end, size));
      // The reader starts several reads and gives up at the first that fails; the others must not count as unhandled.
      bytes.catch(() => {});
      return bytes;
    },
  };
}

interface Columns {
  image: string;
  label: string | undefined;
  classNames: readonly string[];
  /** Columns that might be labels. */
  others: readonly string[];
}

/** The columns of images and labels, and the names of the classes. */
function columnsOf(name: string, metadata: FileMetaData, { imageColumn, labelColumn, labels = 'auto' }: ImageSourceOptions): Columns {
  if (labels !== 'auto' && labels !== 'none')
    throw new ImageSourceError(name, `labels of parquet files stand in a column, not in ${labels}.`);
  const root = metadata.schema[0];
  const top: { name: string; fields: string[]; bytes: boolean; number: boolean; text: boolean }[] = [];
  for (let at = 1, c = 0; c < (root.num_children ?? 0); c++) {
    const element = metadata.schema[at];
    if (element === undefined) throw new ImageSourceError(name, 'it cannot be read as parquet (its schema is cut off).');
    const children = metadata.schema.slice(at + 1, at + 1 + (element.num_children ?? 0));
    const text = element.converted_type === 'UTF8' || element.logical_type?.type === 'STRING';
    top.push({
      name: element.name,
      fields: children.map((child) => child.name),
      bytes: element.type === 'BYTE_ARRAY' && !text,
      number: element.type === 'INT32' || element.type === 'INT64',
      text,
    });
    // Columns of images are one level deep; deeper ones are skipped over.
    let skip = element.num_children ?? 0;
    for (at++; skip > 0 && at < metadata.schema.length; at++) skip += (metadata.schema[at].num_children ?? 0) - 1;
  }
  const list = top.map((column) => column.name).join(', ');
  const missing = (wanted: string): ImageSourceError => new ImageSourceError(name, `it has no column "${wanted}"; it has ${list}.`);
  const records = top.filter((column) => column.fields.includes('bytes'));
  const candidates = records.length > 0 ? records : top.filter((column) => column.bytes);
  const image = imageColumn === undefined ? (candidates.length === 1 ? candidates[0] : undefined) : top.find((c) => c.name === imageColumn);
  if (image === undefined) {
    if (imageColumn !== undefined) throw missing(imageColumn);
    throw new ImageSourceError(
      name,
      candidates.length === 0
        ? `no column holds images (records with bytes); it has ${list}.`
        : `more than one column holds images (records with bytes): ${candidates.map((column) => column.name).join(', ')}.`,
      { hint: 'Name it: --image-column.' },
    );
  }
  if (labelColumn !== undefined && !top.some((column) => column.name === labelColumn)) throw missing(labelColumn);
  const others = top.filter((column) => column !== image);
  const possible = others.filter((column) => column.number || column.text).map((column) => column.name);
  const features = featuresOf(metadata);
  const classLabels = possible.filter((column) => features[column]?._type === 'ClassLabel');
  // Of any type: one that holds no labels is refused by its values rather than overlooked.
  const usual = LABEL_KEYS.map((known) => others.find(({ name }) => name.toLowerCase() === known)?.name).find((name) => name !== undefined);
  const found = usual ?? (classLabels.length === 1 ? classLabels[0] : undefined);
  const label = labels === 'none' ? undefined : (labelColumn ?? found);
  const names = label === undefined ? undefined : features[label]?.names;
  const classNames = Array.isArray(names) ? names.map(String) : [];
  if (classNames.length > MAX_CLASSES)
    throw new ImageSourceError(name, `it names ${classNames.length} classes; at most ${MAX_CLASSES} are believed.`);
  return { image: image.name, label, classNames, others: possible.filter((column) => column !== label) };
}

/** Features that `datasets` keeps in the metadata, by column. */
function featuresOf(metadata: FileMetaData): Record<string, { names?: unknown; _type?: unknown } | undefined> {
  const text = metadata.key_value_metadata?.find((entry) => entry.key === 'huggingface')?.value;
  if (text === undefined) return {};
  try {
    return JSON.parse(text)?.info?.features ?? {};
  } catch {
    return {}; // Not written by `datasets`: the columns are what counts.
  }
}
