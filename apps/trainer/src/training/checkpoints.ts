/**
 * Checkpoints: `checkpoints/step-N/` with weights, averages, optimizer state, counters of the routers, and a manifest of sizes and
 * sha256. A folder is written under a temporary name, flushed, and renamed when it is complete, so one that is there was whole.
 *
 * Saving goes on beside training: the state is copied first (on a CPU without moving a byte: the runtime gives a variable that is being
 * read a new buffer when the next step writes it), then written while the next steps run. A state that a cluster shares out and that is
 * too large for one host is written by all ranks between two steps, see `shards.ts`.
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import { cardToMetadata, type ModelCard } from '@dit-moe/dit';
import {
  checkFiles,
  createFolderAtomically,
  DamagedCheckpointError,
  MANIFEST,
  makeFolder,
  openCheckpoint,
  readManifest,
  type SealedManifest,
  sealManifest,
  storedTensors,
  TEMPORARY_PREFIX,
  type TensorSource,
  type WrittenFile,
  writeFileAtomically,
  writeSafetensors,
} from '@dit-moe/tensor-ops/io/node';
import { PeerError } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { CheckpointError } from '../errors.js';
import { type ComputedBy, computedBy } from './computed-by.js';
import type { Ranks } from './ranks.js';
import { deleteOld, listCheckpoints, moveAside, type Retention } from './retention.js';
import type { RunRecord } from './run-record.js';
import { bytesOf, type ShardedFile, writeIndex, writeShard } from './shards.js';
import type { TrainingState } from './state.js';
import type { StateFile } from './state-file.js';

/** What a checkpoint says of itself beside the tensors. */
export interface Manifest extends SealedManifest {
  format: 2;
  record: RunRecord;
  /** What computed it: the backend, and what multiplied in what. */
  computedBy?: ComputedBy;
  /** Fingerprint of the data. */
  data: string;
}

/**
 * A cluster writes states beyond so many bytes in shards. Below it rank 0 puts the whole on its host, 16 bytes for a weight (weight,
 * average and two moments): for a thousand million weights 16 GB, a fifth of what the smallest machines with an A100 have for one GPU.
 */
export const sharding = { aboveBytes: 16e9 };

const folderName = (step: number): string => `step-${String(step).padStart(8, '0')}`;

/** One file of a state that is being saved. */
interface SavedFile {
  name: string;
  metadata: Record<string, string>;
  tensors: TensorSource[];
}

/** What a manifest says beside the files. */
type About = Pick<Manifest, 'record' | 'data'>;

/** Writes the checkpoints of a run, at most one at a time, and deletes old ones. */
export class CheckpointWriter {
  private pending: Promise<void> = Promise.resolve();
  /** Saves in a row that failed. */
  private failures = 0;

  /**
   * @param onError receives the error of a save that failed, and how many have failed in a row
   * @param warn told of damaged checkpoints
   */
  constructor(
    private readonly run: string,
    private readonly options: Retention,
    private readonly onError: (error: unknown, failures: number) => void,
    private readonly warn: (message: string) => void,
  ) {}

  /**
   * Copies the state, then returns; it is written in the background. A save that is still under way is waited for first. What is written
   * in shards is on the disk when this returns.
   * @param ranks all of which call this; rank 0 writes, unless it is in shards
   */
  async save(state: TrainingState, card: ModelCard, record: RunRecord, data: string, ranks: Ranks): Promise<void> {
    await this.pending;
    const about = { record: structuredClone(record), data };
    const files = Object.entries(state.files).map(([name, file]) => {
      const emaDecay = state.emaDecayOf(name);
      return { name, file, metadata: cardToMetadata({ ...card, ...(emaDecay !== undefined && { emaDecay }) }) };
    });
    const bytes = files.reduce((sum, { file }) => sum + bytesOf(file), 0);
    if (ranks.cluster !== undefined && bytes > sharding.aboveBytes) {
      try {
        await this.writeShards(files, about, ranks);
        this.failures = 0;
      } catch (error) {
        if (PeerError.isInstance(error)) throw error;
        this.failed(error);
      }
      return;
    }
    const saved: SavedFile[] = [];
    for (const { name, file, metadata } of files) saved.push({ name, metadata, tensors: await file.snapshot() });
    if (!ranks.leads) return;
    this.pending = this.write(saved, about).then(
      () => {
        this.failures = 0;
      },
      async (error) => {
        // The copies that were not written are freed.
        for (const { tensors } of saved) for (const source of tensors) await Promise.resolve(source.bytes()).catch(() => {});
        this.failed(error);
      },
    );
  }

  /** Waits until nothing is being written. */
  async settle(): Promise<void> {
    await this.pending;
  }

  private failed(error: unknown): void {
    this.failures++;
    this.onError(error, this.failures);
  }

  private async write(files: readonly SavedFile[], about: About): Promise<void> {
    await this.commit(about, async (folder) => {
      const written: Record<string, WrittenFile> = {};
      for (const { name, metadata, tensors } of files) {
        const file = `${name}.safetensors`;
        written[file] = await writeSafetensors(path.join(folder, file), tensors, metadata);
      }
      return written;
    });
    await this.deleteOld(about.record.step);
  }

  /** All ranks write their shards into a folder of its own, whose files rank 0 moves into the checkpoint. */
  private async writeShards(files: readonly ShardedFile[], about: About, ranks: Ranks): Promise<void> {
    const { leads } = ranks;
    const { rank } = ranks.cluster!;
    const { step } = about.record;
    const shards = path.join(this.run, 'checkpoints', `${TEMPORARY_PREFIX}shards-${folderName(step)}`);
    try {
      await ranks.together(async () => {
        if (!leads) return;
        await fs.rm(shards, { recursive: true, force: true });
        await makeFolder(shards);
      });
      const written = await ranks.together(async () => {
        const own: Record<string, WrittenFile> = {};
        const failures: unknown[] = [];
        // To the end, whatever happens: the others wait for this rank's part of every file.
        for (const file of files)
          try {
            Object.assign(own, await writeShard(shards, file, rank));
          } catch (error) {
            if (PeerError.isInstance(error)) throw error;
            failures.push(error);
          }
        if (failures.length > 0) throw failures[0];
        return own;
      });
      await ranks.together(async () => {
        if (!leads) return;
        await this.commit(about, async (folder) => {
          const moved: Record<string, WrittenFile> = Object.assign({}, ...written);
          for (const name of Object.keys(moved)) await fs.rename(path.join(shards, name), path.join(folder, name));
          for (const file of files) Object.assign(moved, await writeIndex(folder, file));
          return moved;
        });
      });
    } finally {
      if (leads) await fs.rm(shards, { recursive: true, force: true });
    }
    if (leads) this.pending = this.deleteOld(step);
  }

  /** Makes a checkpoint of files, whole or not at all. @param fill writes them, and says what they are */
  private async commit(about: About, fill: (folder: string) => Promise<Record<string, WrittenFile>>): Promise<void> {
    const target = this.folderOf(about.record.step);
    await makeFolder(path.dirname(target));
    await createFolderAtomically(target, async (folder) => {
      const files = await fill(folder);
      const manifest = { format: 2 as const, record: about.record, computedBy: computedBy(), data: about.data, files };
      await writeFileAtomically(path.join(folder, MANIFEST), `${JSON.stringify(sealManifest(manifest), null, 2)}\n`);
      if ((await fs.lstat(target).catch(() => undefined)) !== undefined)
        await moveAside(target, 'The run has come to its step again.', this.warn);
    });
  }

  /** What was saved is saved, also if this fails. */
  private async deleteOld(saved: number): Promise<void> {
    await deleteOld(this.run, this.folderOf(saved), this.options, verifyCheckpoint, this.warn).catch((error: Error) =>
      this.warn(`WARNING: old checkpoints could not be deleted: ${error.message}`),
    );
  }

  private folderOf(step: number): string {
    return path.join(this.run, 'checkpoints', folderName(step));
  }
}

/** Deletes what a process that died while saving left behind. */
export async function sweepTemporaries(run: string): Promise<void> {
  for (const folder of [run, path.join(run, 'checkpoints')])
    for (const name of await fs.readdir(folder).catch(() => [] as string[]))
      if (name.startsWith(TEMPORARY_PREFIX)) await fs.rm(path.join(folder, name), { recursive: true, force: true });
}

/**
 * Reads a manifest and checks it and the hash of every file.
 * @throws DamagedCheckpointError naming what is wrong
 * @throws CheckpointError if it is of another version
 */
export async function verifyCheckpoint(folder: string): Promise<Manifest> {
  const manifest = await readManifest<Manifest>(folder);
  if (manifest.format !== 2)
    throw new CheckpointError(`${path.join(folder, MANIFEST)} has format ${manifest.format}; this version reads format 2.`);
  await checkFiles(folder, manifest);
  return manifest;
}

/**
 * Restores the newest checkpoint that is whole; damaged ones before it are moved aside.
 * @returns its manifest, or undefined if the run has none
 * @throws CheckpointError if all are damaged or a tensor does not fit the model
 */
export async function restoreLatest(run: string, state: TrainingState, warn: (message: string) => void): Promise<Manifest | undefined> {
  const folders = await listCheckpoints(run);
  const damaged: { folder: string; reason: string }[] = [];
  for (const folder of folders) {
    let manifest: Manifest;
    try {
      manifest = await verifyCheckpoint(folder);
    } catch (error) {
      if (!DamagedCheckpointError.isInstance(error)) throw error;
      damaged.push({ folder, reason: error.message });
      continue;
    }
    for (const { folder, reason } of damaged) await moveAside(folder, reason, warn);
    const stored = storedTensors(manifest);
    for (const [name, tensors] of Object.entries(state.files)) {
      // Checkpoints of before there were counters: they start anew.
      if (name === 'telemetry' && stored[name] === undefined) continue;
      await restoreFile(path.join(folder, stored[name]?.file ?? `${name}.safetensors`), tensors);
    }
    state.weightsGiven({ averages: false });
    return manifest;
  }
  if (folders.length > 0)
    throw new CheckpointError(
      `No checkpoint in ${path.join(run, 'checkpoints')} is whole; the newest: ${damaged[0].reason} Start anew in another folder.`,
    );
  return undefined;
}

async function restoreFile(path: string, tensors: StateFile): Promise<void> {
  const file = await openCheckpoint(path);
  try {
    const [found, wanted] = [new Set(file.names), new Set(tensors.names)];
    const [missing, unexpected] = [tensors.names.filter((name) => !found.has(name)), file.names.filter((name) => !wanted.has(name))];
    if (missing.length + unexpected.length > 0)
      throw new CheckpointError(
        `${path} belongs to another model: missing [${missing.slice(0, 5)}], unexpected [${unexpected.slice(0, 5)}].`,
      );
    const shapes = tensors.names.map((name) => ({ name, found: file.info(name).shape, expected: tensors.shapeOf(name) }));
    const differing = shapes.filter(({ found, expected }) => !tf.util.arraysEqual([...found], [...expected]));
    if (differing.length > 0) {
      const list = differing.slice(0, 5).map(({ name, found, expected }) => `"${name}" is [${found}], expected [${expected}]`);
      throw new CheckpointError(`${path} belongs to another model: ${list.join('; ')}.`);
    }
    await tensors.load(async (name) => {
      const { shape, data } = await file.read(name);
      return { shape, data: data as Float32Array };
    });
  } finally {
    await file.close();
  }
}
