/** Where images come from: a folder, tar shards, parquet files or arrays behind one interface. */
import { DitMoeError, type ErrorDetails } from '@dit-moe/tensor-ops';
import type { Pixels } from '../../pictures/pixels.js';
import type { DecodeOptions } from '../pictures/decode-image.js';

/** Images in a fixed order, read by their index. */
export interface ImageSource {
  /** What it was opened from, for messages and headers. */
  readonly location: string;
  readonly kind: 'folder' | 'webdataset' | 'parquet' | 'arrays';
  readonly count: number;
  /** Name of each class by its number; empty if the source has none. */
  readonly classNames: readonly string[];
  /** Where the labels come from, in words, such as `names of the folders` or `.cls members`; `none` without any. */
  readonly labelsFrom: string;
  /** Without labels: how they could be told. */
  readonly labelHint?: string | undefined;
  /** The split that was asked for, or the only one there is, if names tell splits. */
  readonly split?: string | undefined;
  /** What lies at the location and is not in the source, or has no label. */
  readonly leftOut: readonly LeftOut[];
  /** Names of class folders without any image; they keep their numbers. */
  readonly emptyClasses: readonly string[];
  /** Endings of the image files, such as `jpg`, where they are known. */
  readonly endings: ReadonlySet<string>;
  /** A name that is unique in the source and the same on every machine. */
  key(index: number): string;
  /** Class number, or -1 if the image has none. */
  label(index: number): number;
  /**
   * The picture, decoded as Pillow does, RGB in its own size.
   * @throws ImageError naming the image if it cannot be read or decoded
   */
  picture(index: number, options?: DecodeOptions): Promise<Pixels>;
  /** Digest of what the images' files hold; it does not change when they are copied. See `contentOf`. */
  content(): Promise<string>;
  close(): Promise<void>;
}

/** Things that were not taken, and why. */
export interface LeftOut {
  count: number;
  /** In words for one and for many: `['file of a format that is not read', 'files of formats that are not read']`. */
  what: readonly [one: string, many: string];
  /** The first of them. */
  example: string;
}

/** How a location is read where it can be read in several ways. */
export interface ImageSourceOptions {
  /** Which split to take where names tell several, such as `train`; `none`: those names are no splits. */
  split?: string;
  /**
   * Where labels come from. Default `auto`: of a folder `dataset.json`, `labels.csv` or `metadata.csv` if there is one, else the names of
   * its folders. `folders`: of tar files the members' folders. `names`: file names without their numbers (`tabby_cat_0001.png`). `none`:
   * there are no labels.
   */
  labels?: LabelSource;
  /** Parquet column of images (default: the only one whose records have `bytes`). */
  imageColumn?: string;
  /** Column of labels in parquet or CSV files, key in the JSON of WebDataset (default: the usual names). */
  labelColumn?: string;
}

/** Where labels come from; `auto` takes the first that is there. */
export const labelSources = ['auto', 'folders', 'dataset.json', 'labels.csv', 'names', 'none'] as const;
/** A word of {@link labelSources}. */
export type LabelSource = (typeof labelSources)[number];

/** A source that cannot be used at all: missing, of no known kind, ambiguous, or without a single image. */
export class ImageSourceError extends DitMoeError {
  static override readonly code = 'E_IMAGE_SOURCE';
  constructor(location: string, problem: string, details: Pick<ErrorDetails, 'hint' | 'cause'> = {}) {
    super(`${location}: ${problem}`, { ...details, where: location });
  }
}

/** Endings of files that are decoded. */
export const imageExtensions: ReadonlySet<string> = new Set(
  'png jpg jpeg jpe jfif webp gif tif tiff avif bmp dib ppm pgm pbm pnm'.split(' '),
);
/** Endings of pictures that are not: they are counted, not overlooked. */
export const unreadExtensions: ReadonlySet<string> = new Set(
  'heic heif jp2 j2k jxl svg psd exr hdr ico tga pcx eps pdf raw cr2 nef arw dng dcm nii mp4 avi mov webm gz'.split(' '),
);

const collator = new Intl.Collator('en', { numeric: true });
/** Order by name, in which numbers count by their value: `2.png` before `10.png`. */
export const byName = (a: string, b: string): number => collator.compare(a, b) || (a < b ? -1 : a > b ? 1 : 0);

/** The columns, keys and fields that usually hold a class: its number, or its name if that is all there is. */
export const LABEL_KEYS: readonly string[] =
  'label labels fine_label cls class class_id class_idx class_index class_label label_id category category_id target targets y class_name label_name category_name classname'.split(
    ' ',
  );

/** One line: images, classes, where labels come from, split, and what was left out. */
export function describeImages(source: ImageSource): string {
  const { count, classNames, labelsFrom, kind, split, leftOut, emptyClasses } = source;
  const kinds = { folder: 'folder', webdataset: 'WebDataset', parquet: 'parquet', arrays: 'arrays' };
  let largest = -1;
  for (let i = 0; i < count; i++) largest = Math.max(largest, source.label(i));
  const labels =
    labelsFrom === 'none'
      ? `no labels: all are one class${source.labelHint === undefined ? '' : ` (${source.labelHint})`}`
      : `${classNames.length === 0 ? `labels 0 to ${largest}` : classNames.length === 1 ? '1 class' : `${classNames.length} classes`} from ${labelsFrom}`;
  const parts = [
    `${count} ${count === 1 ? 'image' : 'images'} (${kinds[kind]}${split === undefined ? '' : `, split ${split}`}), ${labels}`,
  ];
  const shown = emptyClasses.slice(0, 5).join(', ');
  if (emptyClasses.length > 0)
    parts.push(
      `${emptyClasses.length === 1 ? 'class' : `${emptyClasses.length} classes`} without an image: ${shown}${emptyClasses.length > 5 ? ', ...' : ''}`,
    );
  for (const { count, what, example } of leftOut) parts.push(`${count} ${what[count === 1 ? 0 : 1]} (${example})`);
  return parts.join('; ');
}

/** Collects what is left out, by what it is. */
export class LeftOutCounter {
  private readonly kinds = new Map<string, LeftOut>();

  add(one: string, many: string, example: string): void {
    const found = this.kinds.get(one);
    if (found === undefined) this.kinds.set(one, { count: 1, what: [one, many], example });
    else found.count++;
  }

  get all(): readonly LeftOut[] {
    return [...this.kinds.values()];
  }
}
