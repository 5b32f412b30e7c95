/**
 * Checkpoints: `checkpoints/step-N/` with weights, average, optimizer state, and a manifest of sizes and sha256. A folder is
 * written under a temporary name and renamed when it is complete, so one that is there is whole.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { cardToMetadata, type ModelCard } from '@dit-moe/dit';
import type { Parameter } from '@dit-moe/tensor-ops';
import {
  createFolderAtomically,
  SafetensorsFile,
  TEMPORARY_PREFIX,
  type WrittenFile,
  writeFileAtomically,
  writeSafetensors,
} from '@dit-moe/tensor-ops/io/node';
import * as tf from '@tensorflow/tfjs-core';
import { CheckpointError } from '../errors.js';
import type { TrainingState } from './state.js';

/** What a checkpoint says of itself beside the tensors. */
export interface Manifest {
  format: 1;
  /** Steps taken. */
  step: number;
  /** Fingerprint of the images. */
  data: string;
  files: Record<string, WrittenFile>;
}

const folderName = (step: number): string => `step-${String(step).padStart(8, '0')}`;

async function saveParameters(
  file: string,
  parameters: Readonly<Record<string, Parameter>>,
  metadata: Record<string, string>,
): Promise<WrittenFile> {
  const sources = Object.entries(parameters).map(([name, parameter]) => ({
    name,
    dtype: 'F32' as const,
    shape: parameter.shape,
    bytes: async () => {
      const data = await parameter.data();
      return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    },
  }));
  return writeSafetensors(file, sources, metadata);
}

/** Saves the state as a new checkpoint and deletes the oldest beyond `keep`. */
export async function saveCheckpoint(
  run: string,
  state: TrainingState,
  card: ModelCard,
  options: { data: string; keep: number },
): Promise<string> {
  const root = path.join(run, 'checkpoints');
  await fs.mkdir(root, { recursive: true });
  const target = path.join(root, folderName(card.step));
  await fs.rm(target, { recursive: true, force: true });
  await createFolderAtomically(target, async (folder) => {
    const files: Record<string, WrittenFile> = {};
    for (const [name, parameters] of Object.entries(state.files))
      files[`${name}.safetensors`] = await saveParameters(path.join(folder, `${name}.safetensors`), parameters, cardToMetadata(card));
    const manifest: Manifest = { format: 1, step: card.step, data: options.data, files };
    await writeFileAtomically(path.join(folder, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  });
  for (const old of (await listCheckpoints(run)).slice(options.keep)) await fs.rm(old, { recursive: true, force: true });
  return target;
}

/** Checkpoint folders of a run, newest first. */
export async function listCheckpoints(run: string): Promise<string[]> {
  const root = path.join(run, 'checkpoints');
  const names = await fs.readdir(root).catch(() => [] as string[]);
  return names
    .filter((name) => /^step-\d+$/.test(name))
    .sort()
    .reverse()
    .map((name) => path.join(root, name));
}

/** Deletes what a process that died while saving left behind. */
export async function sweepTemporaries(run: string): Promise<void> {
  const root = path.join(run, 'checkpoints');
  for (const name of await fs.readdir(root).catch(() => [] as string[]))
    if (name.startsWith(TEMPORARY_PREFIX)) await fs.rm(path.join(root, name), { recursive: true, force: true });
}

/** Reads and checks a manifest and the hash of every file. */
async function verify(folder: string): Promise<Manifest> {
  const manifest = JSON.parse(await fs.readFile(path.join(folder, 'manifest.json'), 'utf8')) as Manifest;
  for (const [name, { bytes, sha256 }] of Object.entries(manifest.files)) {
    const file = path.join(folder, name);
    const { size } = await fs.stat(file);
    if (size !== bytes) throw new CheckpointError(`${file} should have ${bytes} bytes, but has ${size}.`);
    const hash = createHash('sha256');
    await pipeline(createReadStream(file), hash);
    if (hash.digest('hex') !== sha256) throw new CheckpointError(`${file} is damaged: its sha256 is not that of the manifest.`);
  }
  return manifest;
}

/**
 * Restores the newest checkpoint that is whole; damaged ones are reported and passed over.
 * @returns its manifest, or undefined if the run has none
 * @throws CheckpointError if all are damaged or a tensor does not fit the model
 */
export async function restoreLatest(run: string, state: TrainingState, warn: (message: string) => void): Promise<Manifest | undefined> {
  const folders = await listCheckpoints(run);
  for (const folder of folders) {
    let manifest: Manifest;
    try {
      manifest = await verify(folder);
    } catch (error) {
      warn(`The checkpoint ${folder} cannot be used (${(error as Error).message}); trying the one before it.`);
      continue;
    }
    for (const [name, parameters] of Object.entries(state.files))
      await restoreParameters(path.join(folder, `${name}.safetensors`), parameters);
    return manifest;
  }
  if (folders.length > 0)
    throw new CheckpointError(`No checkpoint in ${path.join(run, 'checkpoints')} is whole. Start anew in another folder.`);
  return undefined;
}

async function restoreParameters(path: string, parameters: Readonly<Record<string, Parameter>>): Promise<void> {
  const file = await SafetensorsFile.open(path);
  try {
    const [missing, unexpected] = [Object.keys(parameters).filter((n) => !file.entry(n)), file.names.filter((n) => !parameters[n])];
    if (missing.length + unexpected.length > 0)
      throw new CheckpointError(
        `${path} belongs to another model: missing [${missing.slice(0, 5)}], unexpected [${unexpected.slice(0, 5)}].`,
      );
    for (const [name, parameter] of Object.entries(parameters)) {
      const { shape, data } = await file.read(name);
      if (!tf.util.arraysEqual(shape, parameter.shape as number[]))
        throw new CheckpointError(
          `${path}: "${name}" is [${shape}], expected [${parameter.shape}]. The model's configuration has changed.`,
        );
      tf.tidy(() => parameter.assign(tf.tensor(data as Float32Array, shape)));
    }
  } finally {
    await file.close();
  }
}
