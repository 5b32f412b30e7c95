/** From labels as data sets write them, numbers or names, to class numbers. */
import { byName, ImageSourceError } from './image-source.js';

/** Most classes of a data set: ImageNet-21k has 21,841. A larger label number is a mistake rather than a class. */
export const MAX_CLASSES = 100_000;
/** Longest name of a class; longer texts are captions. */
const MAX_NAME = 200;

/** The labels of a source. */
export interface Labels {
  /** Class number of each image, -1 where it has none. */
  numbers: Int32Array;
  /** Names where labels are names; empty where they are numbers, or there are none. */
  names: readonly string[];
}

/**
 * Collects the labels of images in their order. Numerals are numbers; if labels are names, classes are numbered in the order of the
 * names.
 */
export class LabelCollector {
  private readonly values: (number | string)[] = [];
  private readonly distinct = new Map<string, number>();
  private number: { value: number; where: string } | undefined;
  private name: { value: string; where: string } | undefined;

  /** @param location of the source, for errors */
  constructor(private readonly location: string) {}

  /** Images without a label so far. */
  missing = 0;

  get count(): number {
    return this.values.length;
  }

  /** Whether any image has a label. */
  get some(): boolean {
    return this.missing < this.values.length;
  }

  /**
   * @param value number, name or numeral, also as bytes, or a truth value; `undefined`, `null`, an empty text or -1 for none; a list of
   * one is its element
   * @param where the file or member, for errors
   * @throws ImageSourceError if it is no label, too large, or a name among numbers
   */
  add(value: unknown, where: string): void {
    const label = this.parse(Array.isArray(value) && value.length === 1 ? value[0] : value, where);
    if (label === -1) this.missing++;
    else if (typeof label === 'number') this.number ??= { value: label, where };
    else {
      this.name ??= { value: label, where };
      if (!this.distinct.has(label)) this.distinct.set(label, 0);
      if (this.distinct.size > MAX_CLASSES)
        throw new ImageSourceError(this.location, `it has more than ${MAX_CLASSES} different labels, such as ${show(label)} (${where}).`, {
          hint: 'Are they captions? Without labels: labels none.',
        });
    }
    this.values.push(label);
    if (this.number !== undefined && this.name !== undefined)
      throw new ImageSourceError(
        this.location,
        `some labels are numbers, such as ${this.number.value} (${this.number.where}), and some are names, such as ${show(this.name.value)} (${this.name.where}).`,
      );
  }

  /** All labels; names get their numbers. */
  finish(): Labels {
    const names = [...this.distinct.keys()].sort(byName);
    for (const [number, name] of names.entries()) this.distinct.set(name, number);
    return { numbers: Int32Array.from(this.values, (value) => (typeof value === 'number' ? value : this.distinct.get(value)!)), names };
  }

  private parse(value: unknown, where: string): number | string {
    if (value === undefined || value === null) return -1;
    if (typeof value === 'boolean') return Number(value);
    const text =
      typeof value === 'string' ? value.trim() : value instanceof Uint8Array ? Buffer.from(value).toString('utf8').trim() : undefined;
    if (text === '') return -1;
    if (text !== undefined && !/^[+-]?\d+(\.\d*)?$/.test(text)) {
      if (text.length > MAX_NAME || /[\r\n\0]/.test(text))
        throw new ImageSourceError(where, `expected a class number or name, found a text of ${text.length} characters.`);
      return text;
    }
    const number = typeof value === 'bigint' || text !== undefined ? Number(value) : value;
    if (typeof number !== 'number' || !Number.isInteger(number) || number < -1)
      throw new ImageSourceError(where, `expected a class number or name, found ${show(value)}.`);
    if (number >= MAX_CLASSES)
      throw new ImageSourceError(where, `the label ${number} is no class number: at most ${MAX_CLASSES} classes are believed.`);
    return number;
  }
}

/** The reader of parquet gives whole numbers as `bigint`, which JSON has not. */
const show = (value: unknown): string =>
  (JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? Number(part) : part)) ?? String(value)).slice(0, 60);
