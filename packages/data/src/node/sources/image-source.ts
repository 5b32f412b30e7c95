/** Where images come from: a folder, tar shards or parquet files behind one interface. */
import { DitMoeError } from '@dit-moe/tensor-ops';

/** Images in a fixed order, read by their index. Nothing is decoded here. */
export interface ImageSource {
  /** What it was opened from, for messages and headers. */
  readonly location: string;
  readonly kind: 'folder' | 'webdataset' | 'parquet';
  readonly count: number;
  /** Endings of the image files, such as `jpg`, where they are known. */
  readonly endings: ReadonlySet<string>;
  /** Name of each class by its number; empty if the source has none. */
  readonly classNames: readonly string[];
  /** A name that is unique in the source and the same on every machine. */
  key(index: number): string;
  /** Class number, or -1 if the image has none. */
  label(index: number): number;
  /**
   * The bytes of the image file.
   * @throws ImageError naming the image if they cannot be read
   */
  read(index: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** A source that cannot be used at all: missing, of no known kind, or without a single image. */
export class ImageSourceError extends DitMoeError {
  static override readonly code = 'E_IMAGE_SOURCE';
  constructor(location: string, problem: string, options?: ErrorOptions) {
    super(`${location}: ${problem}`, options);
  }
}

/** Endings of image files. */
export const imageExtensions: ReadonlySet<string> = new Set(['png', 'jpg', 'jpeg', 'webp', 'gif', 'tif', 'tiff', 'avif']);

/** Order by name, in which numbers count by their value: `2.png` before `10.png`. */
export const byName = (a: string, b: string): number => a.localeCompare(b, 'en', { numeric: true }) || (a < b ? -1 : a > b ? 1 : 0);
