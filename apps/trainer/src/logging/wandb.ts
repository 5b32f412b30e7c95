/**
 * A run of Weights & Biases as its client writes it without a network: `wandb/offline-run-<time>-<id>` in the run's folder, which
 * `wandb sync` uploads. Nothing is sent from here, and no client is needed to write it.
 *
 * Field numbers are from wandb/proto/wandb_internal.proto, as of client 0.31.
 */
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { bytesField as bytes, integerField as integer, joined } from '@dit-moe/tensor-ops/io';
import { makeFolder, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import type { TrainConfig } from '../config/schema.js';
import { RecordLog } from './record-log.js';
import { type Entry, entriesOf, nameOf, type RunEnd, type TrackedRun, type Tracker } from './tracker.js';

/** Of `Record`. */
const field = { number: 1, history: 2, summary: 3, files: 6, run: 17, exit: 18, header: 21 } as const;

/** JSON that also has the numbers that JSON has not, as the client writes it. */
const json = (value: unknown): string => (typeof value === 'number' && !Number.isFinite(value) ? String(value) : JSON.stringify(value));

/** A name and its value, as config, history and summary hold them; `name` is the field of the name. */
const item = (name: 1 | 2, key: string, value: unknown): Uint8Array => bytes(1, bytes(name, key), bytes(16, json(value)));

type WandbSettings = NonNullable<TrainConfig['logging']['wandb']>;

export class WandbTracker implements Tracker {
  readonly name = 'Weights & Biases';
  private log = new RecordLog();
  private records = 0;
  /** What the file has; undefined as long as it has to be written anew. */
  private written: number | undefined;

  private constructor(
    private readonly run: TrackedRun,
    private readonly settings: WandbSettings,
    /** Folder of the run for `wandb sync`. */
    readonly folder: string,
    private readonly id: string,
    private readonly began: Date,
  ) {}

  /** Goes on with what is in the folder of a run, else begins. */
  static async open(run: TrackedRun, settings: WandbSettings): Promise<WandbTracker> {
    const names = await fs.readdir(path.join(run.out, 'wandb')).catch(() => []);
    const before = names.flatMap((name) => /^offline-run-(\d{8})_(\d{6})-([a-z0-9]{8})$/.exec(name) ?? []);
    const now = new Date();
    const [name, day, time, id] = before.length > 0 ? before : newName(now);
    const digits = (text: string, ...ends: number[]): number[] => ends.map((end, i) => Number(text.slice(ends[i - 1] ?? 0, end)));
    const [year, month, date] = digits(day, 4, 6, 8);
    const [hours, minutes, seconds] = digits(time, 2, 4, 6);
    const began = new Date(Date.UTC(year, month - 1, date, hours, minutes, seconds));
    return new WandbTracker(run, settings, path.join(run.out, 'wandb', name), id, began);
  }

  async update(step: number): Promise<void> {
    const from = this.written;
    this.written = undefined;
    const entries = await entriesOf(this.run.out, this.run.lines(), from ?? 0, step);
    const records = await this.recordsOf(entries, from === undefined);
    if (from === undefined) await this.begin(records);
    else await fs.appendFile(this.file, records);
    this.written = step;
  }

  /** A file cannot be changed in its middle. */
  async rewind(): Promise<void> {
    this.written = undefined;
  }

  async finish(step: number, end: RunEnd): Promise<void> {
    await this.update(step);
    // Without this record a run counts as one that was broken off, which goes on.
    if (end !== 'interrupted') await fs.appendFile(this.file, this.record(field.exit, integer(1, end === 'finished' ? 0 : 1)));
    this.written = undefined;
  }

  private get file(): string {
    return path.join(this.folder, `run-${this.id}.wandb`);
  }

  private async begin(records: Uint8Array): Promise<void> {
    await makeFolder(path.join(this.folder, 'files'));
    await writeFileAtomically(this.file, records);
    // The client's mark that it has uploaded the file is of another file now.
    await fs.rm(`${this.file}.synced`, { force: true });
  }

  private async recordsOf(entries: readonly Entry[], anew: boolean): Promise<Uint8Array> {
    const records: Uint8Array[] = [];
    if (anew) {
      this.log = new RecordLog();
      this.records = 0;
      records.push(this.record(field.header, bytes(1, bytes(1, 'dit-moe-trainer'), bytes(2, '0.70.0'))), this.runRecord());
    }
    for (const entry of entries) {
      const values: Record<string, unknown> = { ...entry.scalars };
      if (entry.samples !== undefined) {
        const { value, place } = await this.addPicture(entry.samples, entry.step);
        values['samples'] = value;
        records.push(this.record(field.files, bytes(1, bytes(1, place), integer(2, 0), integer(3, 2))));
      }
      if (entry.at !== undefined) {
        values['_timestamp'] = entry.at / 1000;
        values['_runtime'] = Math.max(0, (entry.at - this.began.getTime()) / 1000);
      }
      values['_step'] = entry.step;
      const items = Object.entries(values).map(([name, value]) => item(2, name, value));
      records.push(this.record(field.summary, ...items), this.record(field.history, ...items, bytes(2, integer(1, entry.step))));
    }
    return joined(...records);
  }

  private runRecord(): Uint8Array {
    const { project, entity } = this.settings;
    return this.record(
      field.run,
      bytes(1, this.id),
      ...(entity === undefined ? [] : [bytes(2, entity)]),
      bytes(3, project),
      bytes(4, ...Object.entries(this.run.config).map(([key, value]) => item(1, key, value))),
      bytes(8, nameOf(this.run, this.settings)),
      bytes(13, os.hostname()),
      bytes(17, integer(1, Math.floor(this.began.getTime() / 1000))),
    );
  }

  /** Puts a picture where the client keeps them. @returns how history names it, and its place */
  private async addPicture(file: string, step: number): Promise<{ value: object; place: string }> {
    const png = await fs.readFile(file);
    const sha256 = createHash('sha256').update(png).digest('hex');
    const place = `media/images/samples_${step}_${sha256.slice(0, 20)}.png`;
    const copy = path.join(this.folder, 'files', place);
    await makeFolder(path.dirname(copy));
    await writeFileAtomically(copy, png);
    // A PNG says its size in its first chunk.
    const [width, height] = [png.readUInt32BE(16), png.readUInt32BE(20)];
    return { value: { _type: 'image-file', sha256, size: png.length, path: place, format: 'png', width, height }, place };
  }

  private record(kind: number, ...content: readonly Uint8Array[]): Uint8Array {
    this.records++;
    return this.log.encode(joined(integer(field.number, this.records), bytes(kind, ...content)));
  }
}

/** A name of a folder with its parts: day, time and identifier. */
function newName(now: Date): [name: string, day: string, time: string, id: string] {
  const [day, time] = now.toISOString().slice(0, 19).replaceAll(/[-:]/g, '').split('T');
  const id = [...randomBytes(8)].map((byte) => (byte % 36).toString(36)).join('');
  return [`offline-run-${day}_${time}-${id}`, day, time, id];
}
