/** Opening a model by where it is: a file, a run folder, a folder of diffusers, or a repository of the Hugging Face hub. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { ArgumentError } from '@dit-moe/tensor-ops';
import { downloadFromHub, type HubOptions, openCheckpoint } from '@dit-moe/tensor-ops/io/node';
import { type ModelFile, type ReadModelOptions, readModel } from '../checkpoints/read-model.js';

export interface OpenModelOptions extends ReadModelOptions {
  /**
   * Which weights: of a run folder or checkpoint folder, the file of this name without `.safetensors`; of a PyTorch file, the entry.
   * Default: the averaged ones (`ema`), which give better samples; PyTorch files without them fall back to `model`.
   */
  weights?: string;
  /** For locations of the form `hf:owner/name/file`. */
  hub?: HubOptions;
}

/**
 * Opens a model, whatever made it; nothing but names and shapes is read.
 *
 * @param location a `.safetensors`, `.pt` or other file of `openCheckpoint`; a run folder (its newest checkpoint) or one of its
 *   checkpoints; a folder of diffusers, with or without `transformer/`; or `hf:owner/name/path/to/file`, fetched and cached
 * @throws FormatError, ForbiddenGlobalError, UnsupportedCheckpointError as `openCheckpoint`
 * @throws ArgumentError if it holds no model, or a field of the configuration must be told
 */
export async function openModel(location: string, options: OpenModelOptions = {}): Promise<ModelFile> {
  const local = location.startsWith('hf:') ? await fetched(location.slice('hf:'.length), options.hub) : location;
  const { weights = 'ema' } = options;
  const file = await weightsFile(local, weights);
  const recorded = options.recorded ?? (await diffusersConfig(file));
  const entry = options.weights === undefined ? {} : { entry: options.weights };
  const checkpoint = await openCheckpoint(file, /\.(pt|pth|bin|ckpt)$/.test(file) ? { unknownGlobals: 'refuse', ...entry } : {});
  try {
    return readModel(checkpoint, { ...options, ...(recorded !== undefined && { recorded }) });
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
async function weightsFile(location: string, weights: string): Promise<string> {
  const names = await fs.readdir(location).catch(() => undefined);
  if (names === undefined) return location;
  if (names.includes('transformer')) return path.join(location, 'transformer');
  if (names.includes('manifest.json')) return inCheckpoint(location, names, weights);
  if (!names.includes('checkpoints')) return location;
  const folder = path.join(location, 'checkpoints');
  const newest = (await fs.readdir(folder))
    .filter((name) => /^step-\d+$/.test(name))
    .sort()
    .at(-1);
  if (newest === undefined) throw new ArgumentError('openModel', 'a run with a checkpoint', `${folder} without step-N`);
  const checkpoint = path.join(folder, newest);
  return inCheckpoint(checkpoint, await fs.readdir(checkpoint), weights);
}

function inCheckpoint(folder: string, names: readonly string[], weights: string): string {
  const stems = names.filter((name) => name.endsWith('.safetensors')).map((name) => name.slice(0, -'.safetensors'.length));
  const found = stems.includes(weights)
    ? weights
    : stems
        .filter((stem) => stem.startsWith(`${weights}-`))
        .sort()
        .at(-1);
  if (found === undefined) throw new ArgumentError('openModel: weights', `one of ${stems.join(', ')} (the files of ${folder})`, weights);
  return path.join(folder, `${found}.safetensors`);
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
