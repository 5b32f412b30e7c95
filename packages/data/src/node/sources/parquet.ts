/** Parquet files as the Hugging Face `datasets` library writes images: a column of `{bytes, path}` records, class numbers beside it. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { type AsyncBuffer, type FileMetaData, parquetMetadataAsync, parquetReadObjects } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { ImageError } from '../pictures/image-error.js';
import { type ImageSource, ImageSourceError } from './image-source.js';

/** Row groups of images that stay in memory: the one being read, and the one before it, since readers run a little ahead. */
const ROW_GROUPS_KEPT = 2;

interface Table {
  file: AsyncBuffer;
  metadata: FileMetaData;
  name: string;
  /** First row of each row group in the whole source, and the end. */
  starts: number[];
}

export interface ParquetOptions {
  /** Column of images (default: the only one whose records have `bytes`). */
  imageColumn?: string;
  /** Column of class numbers (default `label`, `labels`, `fine_label` or `cls`, if there is one). */
  labelColumn?: string;
}

/**
 * Opens parquet files in the order given. Labels are read at once; images by row group, so reading in order is fast and reading at
 * random is not. Class names come from the metadata of `datasets`. Keys are `<file name>/<row>`.
 * @throws ImageSourceError if a file is damaged, has no image column, or has no row
 */
export async function openParquet(files: readonly string[], options: ParquetOptions = {}): Promise<ImageSource> {
  const handles: fs.FileHandle[] = [];
  const close = async (): Promise<void> => void (await Promise.all(handles.map((handle) => handle.close())));
  const tables: Table[] = [];
  const labels: number[] = [];
  let classNames: readonly string[] = [];
  let image = '';
  let rows = 0;
  try {
    for (const name of files) {
      const handle = await fs.open(name, 'r');
      handles.push(handle);
      const file = await bufferOf(handle);
      try {
        const metadata = await parquetMetadataAsync(file);
        const columns = columnsOf(name, metadata, options);
        image = columns.image;
        const starts = [rows];
        for (const group of metadata.row_groups) starts.push(starts.at(-1)! + Number(group.num_rows));
        rows = starts.at(-1)!;
        tables.push({ file, metadata, name, starts });
        if (columns.label !== undefined) {
          const read = await parquetReadObjects({ file, metadata, columns: [columns.label], compressors });
          for (const row of read) labels.push(labelOf(row[columns.label], name));
          classNames = columns.classNames;
        } else for (let i = starts[0]; i < rows; i++) labels.push(-1);
      } catch (error) {
        if (error instanceof ImageSourceError) throw error;
        throw new ImageSourceError(name, `it cannot be read as parquet (${(error as Error).message}).`, { cause: error });
      }
    }
    if (rows === 0) throw new ImageSourceError(files[0] ?? '', 'it has no row.');
  } catch (error) {
    await close();
    throw error;
  }
  const kept = new Map<string, Promise<Record<string, unknown>[]>>();
  const tableOf = (index: number): Table => tables.find(({ starts }) => index < starts.at(-1)!)!;
  const key = (index: number): string => `${path.basename(tableOf(index).name)}/${index - tableOf(index).starts[0]}`;
  return {
    location: files.length === 1 ? files[0] : path.dirname(files[0]),
    kind: 'parquet',
    count: rows,
    classNames,
    endings: new Set(),
    key,
    label: (index) => labels[index],
    async read(index) {
      const { file, metadata, starts, name } = tableOf(index);
      const group = starts.findIndex((start, i) => index >= start && index < (starts[i + 1] ?? 0));
      const [start, end] = [starts[group], starts[group + 1]];
      const id = `${name}:${group}`;
      let records = kept.get(id);
      if (records === undefined) {
        const [rowStart, rowEnd] = [start - starts[0], end - starts[0]];
        records = parquetReadObjects({ file, metadata, columns: [image], rowStart, rowEnd, utf8: false, compressors });
        kept.set(id, records);
        for (const old of [...kept.keys()].slice(0, -ROW_GROUPS_KEPT)) kept.delete(old);
      }
      try {
        const cell = (await records)[index - start][image] as { bytes?: unknown } | Uint8Array | null;
        const bytes = cell instanceof Uint8Array ? cell : cell?.bytes;
        if (!(bytes instanceof Uint8Array)) throw new Error('the row has no bytes; images kept as paths elsewhere are not read');
        return bytes;
      } catch (error) {
        throw new ImageError(key(index), `it cannot be read (${(error as Error).message}).`, { cause: error });
      }
    },
    close,
  };
}

async function bufferOf(handle: fs.FileHandle): Promise<AsyncBuffer> {
  const { size } = await handle.stat();
  return {
    byteLength: size,
    async slice(start, end = size) {
      const from = start < 0 ? size + start : start;
      const bytes = new Uint8Array(Math.max(0, Math.min(end, size) - from));
      for (let done = 0; done < bytes.length; ) {
        const { bytesRead } = await handle.read(bytes, done, bytes.length - done, from + done);
        if (bytesRead === 0) throw new Error(`it ends at byte ${from + done}`);
        done += bytesRead;
      }
      return bytes.buffer;
    },
  };
}

/** The columns of images and labels, and the names of the classes. */
function columnsOf(name: string, metadata: FileMetaData, { imageColumn, labelColumn }: ParquetOptions) {
  const root = metadata.schema[0];
  const top: { name: string; fields: string[]; bytes: boolean }[] = [];
  for (let at = 1, c = 0; c < (root.num_children ?? 0); c++) {
    const element = metadata.schema[at];
    const children = metadata.schema.slice(at + 1, at + 1 + (element.num_children ?? 0));
    top.push({ name: element.name, fields: children.map((child) => child.name), bytes: element.type === 'BYTE_ARRAY' });
    // Columns of images are one level deep; deeper ones are skipped over.
    let skip = element.num_children ?? 0;
    for (at++; skip > 0; at++) skip += (metadata.schema[at].num_children ?? 0) - 1;
  }
  const list = top.map((column) => column.name).join(', ');
  const missing = (wanted: string): ImageSourceError => new ImageSourceError(name, `it has no column "${wanted}"; it has ${list}.`);
  const candidates = top.filter((column) => column.fields.includes('bytes'));
  const image = imageColumn === undefined ? (candidates.length === 1 ? candidates[0] : undefined) : top.find((c) => c.name === imageColumn);
  if (image === undefined) {
    if (imageColumn !== undefined) throw missing(imageColumn);
    throw new ImageSourceError(
      name,
      `${candidates.length === 0 ? 'no column' : 'more than one column'} holds images (records with bytes); it has ${list}.`,
    );
  }
  if (labelColumn !== undefined && !top.some((column) => column.name === labelColumn)) throw missing(labelColumn);
  const label = labelColumn ?? ['label', 'labels', 'fine_label', 'cls'].find((known) => top.some((column) => column.name === known));
  return { image: image.name, label, classNames: label === undefined ? [] : classNamesOf(metadata, label) };
}

/** `names` of the ClassLabel feature that `datasets` keeps in the metadata. */
function classNamesOf(metadata: FileMetaData, column: string): readonly string[] {
  const text = metadata.key_value_metadata?.find((entry) => entry.key === 'huggingface')?.value;
  if (text === undefined) return [];
  try {
    const names: unknown = JSON.parse(text)?.info?.features?.[column]?.names;
    return Array.isArray(names) ? names.map(String) : [];
  } catch {
    return []; // Not written by `datasets`: the numbers are what counts.
  }
}

function labelOf(value: unknown, name: string): number {
  if (value === null || value === undefined) return -1;
  const label = Number(value);
  if (!Number.isInteger(label) || label < -1) throw new ImageSourceError(name, `expected class numbers, found ${String(value)}.`);
  return label;
}
