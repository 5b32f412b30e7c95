/** Opening a model by where it is: a file, a run folder, a folder of diffusers, or a repository of the Hugging Face hub. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { ArgumentError } from '@dit-moe/tensor-ops';
import {
  checkFiles,
  DamagedCheckpointError,
  downloadFromHub,
  type HubOptions,
  MANIFEST,
  openCheckpoint,
  readManifest,
  storedTensors,
} from '@dit-moe/tensor-ops/io/node';
import { type ModelFile, type ReadModelOptions, readModel } from '../checkpoints/read-model.js';

/** Which weights to open of which file. */
export interface OpenModelOptions extends ReadModelOptions {
  /**
   * Which weights: of a run folder or checkpoint folder, the file of this name without `.safetensors`; of a PyTorch file, the entry.
   * Default: the averaged ones (`ema`), which give better samples; PyTorch files without them fall back to `model`.
   */
  weights?: string;
  /** Hears in a line of a checkpoint that is damaged and passed over for the one before it (default `console.warn`). */
  onWarning?: ((message: string) => void) | undefined;
  /** For locations of the form `hf:owner/name/file`. */
  hub?: HubOptions;
}

/**
 * Opens a model, whatever made it; nothing but names and shapes is read.
 *
 * @param location a `.safetensors`, `.pt` or other file of `openCheckpoint`; a run folder (its newest checkpoint) or one of its
 *   checkpoints; a folder of diffusers, with or without `transformer/`; or `hf:owner/name/path/to/file`, fetched and cached
 * @throws FormatError, ForbiddenGlobalError, UnsupportedCheckpointError as `openCheckpoint`
 * @throws DamagedCheckpointError if a run's checkpoint is not what was written; of a run folder, if none is whole
 * @throws ArgumentError if it holds no model, or a field of the configuration must be told
 */
export async function openModel(location: string, options: OpenModelOptions = {}): Promise<ModelFile> {
  const local = location.startsWith('hf:') ? await fetched(location.slice('hf:'.length), options.hub) : location;
  const { weights = 'ema', onWarning = console.warn } = options;
  const file = await weightsFile(local, weights, onWarning);
  const recorded = options.recorded ?? (await diffusersConfig(file));
  const entry = options.weights === undefined ? {} : { entry: options.weights };
  const checkpoint = await openCheckpoint(file, entry);
  try {
    return await readModel(checkpoint, { ...options, ...(recorded !== undefined && { recorded }) });
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

async function fetched(name: string, options: HubOptions = {}): Promise<string> {
  const [owner, repository, ...rest] = name.split('/');
  const file = rest.join('/');
  if (!owner || !repository || file === '') throw new ArgumentError('openModel', 'hf:owner/name/path/to/file', `hf:${name}`);
  const isDiffusers = path.posix.basename(file).startsWith('diffusion_pytorch_model');
  const wanted = isDiffusers ? [file, path.posix.join(path.posix.dirname(file), 'config.json')] : [file];
  return path.join(await downloadFromHub(`${owner}/${repository}`, wanted, options), file);
}

/** The file or folder that holds the weights. */
async function weightsFile(location: string, weights: string, onWarning: (message: string) => void): Promise<string> {
  const names = await fs.readdir(location).catch(() => undefined);
  if (names === undefined) {
    const folder = path.dirname(location);
    if (await isCheckpoint(folder)) await verified(folder, path.basename(location));
    return location;
  }
  if (names.includes('transformer')) return path.join(location, 'transformer');
  if (names.includes(MANIFEST)) return inCheckpoint(location, weights);
  if (!names.includes('checkpoints')) return location;
  const folder = path.join(location, 'checkpoints');
  const steps = (await fs.readdir(folder)).filter((name) => STEP.test(name)).sort((a, b) => stepOf(b) - stepOf(a));
  if (steps.length === 0) throw new ArgumentError('openModel', 'a run with a checkpoint', `${folder} without step-N`);
  for (const step of steps) {
    try {
      return await inCheckpoint(path.join(folder, step), weights);
    } catch (error) {
      if (!DamagedCheckpointError.isInstance(error)) throw error;
      onWarning(`WARNING: the checkpoint ${path.join(folder, step)} cannot be used (${error.message}) Taking the one before it.`);
    }
  }
  throw new DamagedCheckpointError(`No checkpoint in ${folder} is whole.`, { where: folder });
}

const STEP = /^step-\d+$/;
const stepOf = (name: string): number => Number(/\d+$/.exec(name)![0]);

/** Whether a folder is a checkpoint of a run, whose files have hashes. */
const isCheckpoint = async (folder: string): Promise<boolean> =>
  STEP.test(path.basename(path.resolve(folder))) && (await fs.stat(path.join(folder, MANIFEST)).catch(() => undefined)) !== undefined;

async function inCheckpoint(folder: string, weights: string): Promise<string> {
  const stored = storedTensors(await readManifest(folder));
  const stems = Object.keys(stored);
  const found = stems.includes(weights)
    ? weights
    : stems
        .filter((stem) => stem.startsWith(`${weights}-`))
        .sort()
        .at(-1);
  if (found === undefined) throw new ArgumentError('openModel: weights', `one of ${stems.join(', ')} (the files of ${folder})`, weights);
  return verified(folder, stored[found].file);
}

/** The file, after its hash was checked, and those of the shards that it lists. */
async function verified(folder: string, name: string): Promise<string> {
  const manifest = await readManifest(folder);
  const stored = Object.values(storedTensors(manifest)).find(({ file }) => file === name);
  await checkFiles(folder, manifest, stored?.files ?? [name]);
  return path.join(folder, name);
}

/** diffusers' `config.json` beside the weights, if it is that of a DiT. */
async function diffusersConfig(file: string): Promise<Record<string, unknown> | undefined> {
  const stat = await fs.stat(file).catch(() => undefined);
  const folder = stat?.isDirectory() ? file : path.dirname(file);
  const text = await fs.readFile(path.join(folder, 'config.json'), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch {
    return undefined;
  }
  const record = typeof config === 'object' && config !== null ? (config as Record<string, unknown>) : {};
  return /^(DiT)?Transformer2DModel$/.test(String(record['_class_name'])) ? record : undefined;
}
