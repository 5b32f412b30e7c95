/** Opening an autoencoder by its name or folder. */
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { encodeTensor } from '@dit-moe/tensor-ops/io';
import { downloadFromHub, type HubOptions, openCheckpoint } from '@dit-moe/tensor-ops/io/node';
import { Autoencoder, type AutoencoderOptions } from '../compiled-autoencoder.js';
import { type AutoencoderConfig, autoencoderConfig, stableDiffusionConfig } from '../config.js';
import { autoencoderPresets } from '../presets.js';
import type { Dialect, Part } from '../weight-names.js';
import { type AutoencoderWeights, AutoencoderWeightsError, loadAutoencoder } from '../weights.js';

/** Files of a diffusers repository. */
const CONFIG = 'config.json';
const WEIGHTS = 'diffusion_pytorch_model.safetensors';

/** Which half is read, and from where. */
export interface ReadAutoencoderOptions {
  /** Halves to load (default both); names of the other half are not read. */
  parts?: readonly Part[];
  /** How the hub is asked; see `downloadFromHub`. */
  hub?: HubOptions;
}

/** Which autoencoder is opened, and how it is computed. */
export type OpenAutoencoderOptions = ReadAutoencoderOptions & AutoencoderOptions;

/** What there is to know of an autoencoder that was read. */
export interface AutoencoderSource {
  config: AutoencoderConfig;
  /** Folder or file that it was read from. */
  location: string;
  /** Naming of the weights in the file. */
  dialect: Dialect;
  /** sha256 of the encoder's weights as float32, `undefined` if only the decoder was loaded; the same for every format of file. */
  encoderHash: string | undefined;
}

/** An autoencoder ready to encode and decode, and where it came from. */
export interface OpenedAutoencoder extends AutoencoderSource {
  autoencoder: Autoencoder;
}

/**
 * Loads an autoencoder, ready to encode and decode.
 *
 * @param name as for {@link readAutoencoder}
 * @throws as {@link readAutoencoder}
 */
export async function openAutoencoder(name: string, options: OpenAutoencoderOptions = {}): Promise<OpenedAutoencoder> {
  const { weights, ...source } = await readAutoencoder(name, options);
  return { ...source, autoencoder: new Autoencoder(weights, source.config, options) };
}

/**
 * Brings the weights of an autoencoder to the device.
 *
 * @param name a preset (`sd-vae-ft-mse`, `sd-vae-ft-ema`), a repository of the hub (`owner/name`), a folder with `config.json` and
 * weights in any format, or a weights file: beside a `config.json`, else with Stable Diffusion's configuration
 * @throws HubError if it has to be fetched and cannot be
 * @throws AutoencoderWeightsError, ArgumentError if weights or configuration do not fit
 * @throws FormatError if a file is damaged
 */
export async function readAutoencoder(
  name: string,
  { parts = ['encoder', 'decoder'], hub }: ReadAutoencoderOptions = {},
): Promise<AutoencoderSource & { weights: AutoencoderWeights }> {
  const location = await locate(name, hub);
  const isFolder = (await fs.stat(location)).isDirectory();
  const config = await readConfig(path.join(isFolder ? location : path.dirname(location), CONFIG), isFolder);
  const file = await openCheckpoint(isFolder ? await weightsIn(location) : location);
  const hash = createHash('sha256');
  try {
    const { weights, dialect } = await loadAutoencoder(file, config, parts, (weight, part) => {
      if (part === 'encoder') hash.update(encodeTensor(Float32Array.from(weight.data as Float32Array), 'F32'));
    });
    const encoderHash = parts.includes('encoder') ? hash.digest('hex') : undefined;
    return { weights, config, location, dialect, encoderHash };
  } finally {
    await file.close();
  }
}

async function locate(name: string, hub: HubOptions | undefined): Promise<string> {
  const preset = autoencoderPresets[name];
  if (preset === undefined && (await fs.stat(name).catch(() => undefined)) !== undefined) return name;
  const repository = preset?.repository ?? name;
  if (!/^[\w.-]+\/[\w.-]+$/.test(repository))
    throw new AutoencoderWeightsError(
      `${name} is neither a file or folder nor a name of an autoencoder. Known names: ${Object.keys(autoencoderPresets).join(', ')}; or give a folder with ${CONFIG} and weights.`,
    );
  return downloadFromHub(repository, [CONFIG, WEIGHTS], hub);
}

/** The weights of a folder: diffusers' name if it is there, since such folders often hold the same weights in two formats. */
async function weightsIn(folder: string): Promise<string> {
  const preferred = path.join(folder, WEIGHTS);
  return (await fs.stat(preferred).catch(() => undefined)) === undefined ? folder : preferred;
}

async function readConfig(file: string, required: boolean): Promise<AutoencoderConfig> {
  let text: string;
  try {
    text = await fs.readFile(file, 'utf8');
  } catch (cause) {
    if (!required && (cause as NodeJS.ErrnoException).code === 'ENOENT') return stableDiffusionConfig;
    throw new AutoencoderWeightsError(`${file} cannot be read; it says what the autoencoder is made of, and comes with its weights.`, {
      cause,
    });
  }
  try {
    return autoencoderConfig(JSON.parse(text) as Record<string, unknown>);
  } catch (cause) {
    if (cause instanceof SyntaxError) throw new AutoencoderWeightsError(`${file} is not JSON (${cause.message}).`, { cause });
    throw cause;
  }
}
