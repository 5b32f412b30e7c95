/**
 * TensorBoard event files: scalars, histograms and PNG images.
 *
 * A file is a TFRecord: length (uint64), masked CRC-32C of it, an `Event` message, masked CRC-32C of that. Field numbers are from
 * tensorflow/core/util/event.proto and tensorflow/core/framework/summary.proto.
 */
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import {
  bytesField as bytes,
  crc32c,
  doubleField as double,
  floatField as float,
  integerField as integer,
  joined,
} from '@dit-moe/tensor-ops/io';

/** One value of a summary. */
export type Summary =
  | { tag: string; scalar: number }
  | { tag: string; histogram: ArrayLike<number> }
  | { tag: string; png: Uint8Array; width: number; height: number };

const doubles = (field: number, values: readonly number[]): Uint8Array => bytes(field, new Uint8Array(Float64Array.from(values).buffer));

/** Bars of a histogram. */
const BINS = 30;

/** `HistogramProto` of values; those that are not finite are left out. */
function histogramProto(values: ArrayLike<number>): Uint8Array {
  let [min, max, sum, squares, count] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, 0, 0];
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (!Number.isFinite(value)) continue;
    min = Math.min(min, value);
    max = Math.max(max, value);
    sum += value;
    squares += value * value;
    count++;
  }
  if (count === 0) [min, max] = [0, 0];
  const width = (max - min) / BINS || 1;
  const counts = Array<number>(BINS).fill(0);
  for (let i = 0; i < values.length; i++)
    if (Number.isFinite(values[i])) counts[Math.min(BINS - 1, Math.floor((values[i] - min) / width))]++;
  const limits = counts.map((_, i) => (i === BINS - 1 && max > min ? max : min + (i + 1) * width));
  return joined(
    double(1, min),
    double(2, max),
    double(3, count),
    double(4, sum),
    double(5, squares),
    doubles(6, limits),
    doubles(7, counts),
  );
}

function summaryValue(summary: Summary): Uint8Array {
  const tag = bytes(1, summary.tag);
  if ('scalar' in summary) return bytes(1, tag, float(2, summary.scalar));
  if ('histogram' in summary) return bytes(1, tag, bytes(5, histogramProto(summary.histogram)));
  // Colour space 3 is RGB; TensorBoard reads the PNG itself.
  return bytes(1, tag, bytes(4, integer(1, summary.height), integer(2, summary.width), integer(3, 3), bytes(4, summary.png)));
}

/** A checksum as TFRecord stores it: rotated and shifted, so that a checksum of checksums is not degenerate. */
function masked(bytes: Uint8Array): Uint8Array {
  const crc = crc32c(bytes);
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
  return buffer;
}

function record(event: Uint8Array): Uint8Array {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(event.length));
  return joined(length, masked(length), event, masked(event));
}

let filesOfThisProcess = 0;

/** Appends events to a file of its own in a run folder. */
export class EventWriter {
  private constructor(private readonly file: fs.FileHandle) {}

  /**
   * Starts a file `events.out.tfevents.<seconds>.<host>.<pid>.<n>`, the name that TensorBoard looks for.
   * @param restartedAt step at which a resumed run goes on: TensorBoard then drops what an earlier file says of this and later steps
   */
  static async create(folder: string, restartedAt = 0): Promise<EventWriter> {
    const seconds = String(Math.floor(Date.now() / 1000)).padStart(10, '0');
    const name = `events.out.tfevents.${seconds}.${os.hostname()}.${process.pid}.${filesOfThisProcess++}`;
    const writer = new EventWriter(await fs.open(path.join(folder, name), 'wx'));
    await writer.append(0, bytes(3, 'brain.Event:2'));
    if (restartedAt > 0) await writer.append(restartedAt, bytes(7, integer(1, 1)));
    return writer;
  }

  /** Writes the values of a step. */
  async write(step: number, summaries: readonly Summary[]): Promise<void> {
    await this.append(step, bytes(5, ...summaries.map(summaryValue)));
  }

  private async append(step: number, what: Uint8Array): Promise<void> {
    await this.file.appendFile(record(joined(double(1, Date.now() / 1000), integer(2, step), what)));
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}
