/** Brings weights of any dialect onto the device, in the layouts that TensorFlow multiplies with. */
import { ArgumentError, DitMoeError } from '@dit-moe/tensor-ops';
import type { HostTensor, WeightSource } from '@dit-moe/tensor-ops/io';
import * as tf from '@tensorflow/tfjs-core';
import type { AutoencoderConfig } from './config.js';
import { COMPVIS_PREFIX, type Dialect, detectDialect, nameIn, type Part, weightShapes } from './weight-names.js';

/** Weights by current name: convolutions `[kh, kw, in, out]`, linear maps `[in, out]`. */
export type AutoencoderWeights = Readonly<Record<string, tf.Tensor>>;

/** The file is not this autoencoder. */
export class AutoencoderWeightsError extends DitMoeError {
  static override readonly code = 'E_AUTOENCODER_WEIGHTS';
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** Weights as this project names them, and how the file named them. */
export interface LoadedAutoencoder {
  /** The caller disposes of them. */
  weights: AutoencoderWeights;
  dialect: Dialect;
}

/**
 * Loads an autoencoder, or half of it, one tensor at a time.
 *
 * @param parts default both; names of the other half are not asked for
 * @param onRead sees every weight as it is in the file, in the order of `weightShapes`
 * @throws AutoencoderWeightsError if names are missing, left over or of another shape; keys of other networks in a whole
 * Stable Diffusion checkpoint, and training state such as `loss.logvar`, are not left over
 */
export async function loadAutoencoder(
  source: Pick<WeightSource, 'names' | 'read'>,
  config: AutoencoderConfig,
  parts: readonly Part[] = ['encoder', 'decoder'],
  onRead?: (weight: HostTensor, part: Part) => void,
): Promise<LoadedAutoencoder> {
  if (parts.length === 0) throw new ArgumentError('loadAutoencoder: parts', 'encoder, decoder or both', '[]');
  const found = detectDialect(source.names);
  if (found === undefined)
    throw new AutoencoderWeightsError('The file holds no AutoencoderKL: none of its names is that of a mid-block attention.');
  const { dialect, prefix } = found;
  const levels = config.blockOutChannels.length;
  const inFile = (name: string): string => prefix + nameIn(dialect, name, levels);
  const wanted = weightShapes(config, parts);
  const present = new Set(source.names);
  const missing = [...wanted.keys()].filter((name) => !present.has(inFile(name)));
  const known = new Set([...weightShapes(config).keys()].map(inFile));
  const unused = source.names.filter((name) => isAutoencoder(name, prefix) && !known.has(name));
  if (missing.length > 0 || unused.length > 0) {
    const list = (names: string[]): string => `${names.length} (${names.slice(0, 5).join(', ')}${names.length > 5 ? ', ...' : ''})`;
    throw new AutoencoderWeightsError(
      `The weights (${dialect} names) do not fit the configuration: missing ${list(missing.map(inFile))}, unused ${list(unused)}.`,
    );
  }
  const weights: Record<string, tf.Tensor> = {};
  try {
    for (const [name, shape] of wanted) {
      const tensor = await source.read(inFile(name));
      weights[name] = onDevice(tensor, shape, inFile(name));
      onRead?.(tensor, /^(encoder|quant_conv)\./.test(name) ? 'encoder' : 'decoder');
    }
  } catch (error) {
    tf.dispose(weights);
    throw error;
  }
  return { weights, dialect };
}

/** Whether a name belongs to the autoencoder's own weights. */
function isAutoencoder(name: string, prefix: string): boolean {
  if (!name.startsWith(prefix)) return false;
  const own = name.slice(prefix.length);
  return !own.startsWith('loss.') && (prefix === COMPVIS_PREFIX || !/^(model|model_ema|cond_stage_model)\./.test(own));
}

/** A weight in PyTorch's layout as ours. @internal */
export function onDevice(tensor: HostTensor, shape: readonly number[], name: string): tf.Tensor {
  // The attention's maps are 1 x 1 convolutions in the oldest files.
  const own = shape.length === 2 && tensor.shape.length === 4 ? tensor.shape.slice(0, 2) : tensor.shape;
  const size = shape.reduce((a, b) => a * b, 1);
  if (own.join() !== shape.join() || tensor.data.length !== size)
    throw new AutoencoderWeightsError(`"${name}" is [${tensor.shape}], expected [${shape}].`);
  return tf.tidy(() => {
    const value = tf.tensor(Float32Array.from(tensor.data as Float32Array), [...shape]);
    if (shape.length === 4) return tf.transpose(value, [2, 3, 1, 0]);
    return shape.length === 2 ? tf.transpose(value) : value;
  });
}
