/**
 * Checkpoints: `checkpoints/step-N/` with weights, averages, optimizer state, counters of the routers, and a manifest of sizes and
 * sha256. A folder is written under a temporary name, flushed, and renamed when it is complete, so one that is there was whole.
 *
 * Saving goes on beside training: the state is copied first (on a CPU without moving a byte: the runtime gives a variable that is being
 * read a new buffer when the next step writes it), then written while the next steps run.
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
  readManifest,
  SafetensorsFile,
  type SealedManifest,
  sealManifest,
  TEMPORARY_PREFIX,
  type TensorSource,
  type WrittenFile,
  writeFileAtomically,
  writeSafetensors,
} from '@dit-moe/tensor-ops/io/node';
import * as tf from '@tensorflow/tfjs-core';
import { CheckpointError } from '../errors.js';
import { type ComputedBy, computedBy } from './computed-by.js';
import { deleteOld, listCheckpoints, moveAside, type Retention } from './retention.js';
import type { RunRecord } from './run-record.js';
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

const folderName = (step: number): string => `step-${String(step).padStart(8, '0')}`;

/** One file of a state that is being saved. */
interface SavedFile {
  name: string;
  metadata: Record<string, string>;
  tensors: TensorSource[];
}

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
   * Copies the state, then returns; it is written in the background. A save that is still under way is waited for first.
   * @param leads whether this process writes; the others only give what they hold
   */
  async save(state: TrainingState, card: ModelCard, record: RunRecord, data: string, leads: boolean): Promise<void> {
    await this.pending;
    const saved = structuredClone(record);
    const files: SavedFile[] = [];
    for (const [name, file] of Object.entries(state.files)) {
      const emaDecay = state.emaDecayOf(name);
      const metadata = cardToMetadata({ ...card, ...(emaDecay !== undefined && { emaDecay }) });
      files.push({ name, metadata, tensors: await file.snapshot() });
    }
    if (!leads) return;
    this.pending = this.write(files, saved, data).then(
      () => {
        this.failures = 0;
      },
      async (error) => {
        // The copies that were not written are freed.
        for (const { tensors } of files) for (const source of tensors) await Promise.resolve(source.bytes()).catch(() => {});
        this.failures++;
        this.onError(error, this.failures);
      },
    );
  }

  /** Waits until nothing is being written. */
  async settle(): Promise<void> {
    await this.pending;
  }

  private async write(files: readonly SavedFile[], record: RunRecord, data: string): Promise<void> {
    const root = path.join(this.run, 'checkpoints');
    await makeFolder(root);
    const target = path.join(root, folderName(record.step));
    await createFolderAtomically(target, async (folder) => {
      const written: Record<string, WrittenFile> = {};
      for (const { name, metadata, tensors } of files) {
        const file = `${name}.safetensors`;
        written[file] = await writeSafetensors(path.join(folder, file), tensors, metadata);
      }
      const manifest = { format: 2 as const, record, computedBy: computedBy(), data, files: written };
      await writeFileAtomically(path.join(folder, MANIFEST), `${JSON.stringify(sealManifest(manifest), null, 2)}\n`);
      if ((await fs.lstat(target).catch(() => undefined)) !== undefined)
        await moveAside(target, 'The run has come to its step again.', this.warn);
    });
    // What was saved is saved.
    await deleteOld(this.run, target, this.options, verifyCheckpoint, this.warn).catch((error: Error) =>
      this.warn(`WARNING: old checkpoints could not be deleted: ${error.message}`),
    );
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
    for (const [name, tensors] of Object.entries(state.files)) {
      const file = `${name}.safetensors`;
      // Checkpoints of before there were counters: they start anew.
      if (name === 'telemetry' && manifest.files[file] === undefined) continue;
      await restoreFile(path.join(folder, file), tensors);
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
  const file = await SafetensorsFile.open(path);
  try {
    const wanted = new Set(tensors.names);
    const [missing, unexpected] = [tensors.names.filter((name) => !file.entry(name)), file.names.filter((name) => !wanted.has(name))];
    if (missing.length + unexpected.length > 0)
      throw new CheckpointError(
        `${path} belongs to another model: missing [${missing.slice(0, 5)}], unexpected [${unexpected.slice(0, 5)}].`,
      );
    const shapes = tensors.names.map((name) => ({ name, found: file.entry(name)!.shape, expected: tensors.shapeOf(name) }));
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
