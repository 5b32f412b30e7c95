/** From images to features: the one thing that all metrics need, for any network. */

import { type PixelBatches, type Pixels, rebatch } from '@dit-moe/data';
import * as tf from '@tensorflow/tfjs-core';
import { MetricError } from './errors.js';
import { type Features, features } from './features.js';
import { StreamingMoments } from './moments.js';

/**
 * Any function from a batch of images `[B, H, W, 3]` (RGB, int32, 0 ... 255) to named features `[B, D]`, which become the
 * caller's: Inception, a classifier trained on one's own data, a hash of the pixels.
 */
export type ExtractFeatures<Name extends string = string> = (
  images: tf.Tensor4D,
) => Record<Name, tf.Tensor2D> | Promise<Record<Name, tf.Tensor2D>>;

/** A network that owns its compiled steps. */
export interface FeatureExtractor<Name extends string = string> {
  /** What it is, for the record: network, weights, resize. */
  readonly description: string;
  extract: ExtractFeatures<Name>;
  dispose(): void;
}

/** Which features of how many images are kept. */
export interface CollectOptions<Name extends string> {
  /** Images at once (default 32). */
  batch?: number;
  /** Names whose rows are kept; 50,000 rows of 2048 are 400 MB (default: all). */
  keep?: readonly Name[];
  /** Names whose moments are kept (default: all). */
  moments?: readonly Name[];
  /** Stops after this many images. */
  limit?: number;
  /** Called with the number of images done. */
  onProgress?: (done: number) => void;
  /** Ends the work with the signal's reason, between two batches. */
  signal?: AbortSignal;
}

/** What a set of images has given. */
export interface CollectedFeatures<Name extends string> {
  count: number;
  /** Rows in the order of the images. */
  features: Partial<Record<Name, Features>>;
  moments: Partial<Record<Name, StreamingMoments>>;
}

/**
 * Runs images through a feature extractor. Moments are kept in float64 and can be merged (`StreamingMoments.merge`), so that
 * several workers may share a set.
 *
 * @throws MetricError if there are no images, or the extractor gives something that is not features of them
 */
export async function collectFeatures<Name extends string>(
  source: PixelBatches,
  extract: ExtractFeatures<Name>,
  options: CollectOptions<Name> = {},
): Promise<CollectedFeatures<Name>> {
  const { batch = 32, keep, moments: wanted, limit = Number.POSITIVE_INFINITY, onProgress, signal } = options;
  const rows = new Map<Name, Float32Array[]>();
  const dimensions = new Map<Name, number>();
  const moments: Partial<Record<Name, StreamingMoments>> = {};
  let count = 0;
  for await (const images of rebatch(upTo(source, limit), batch)) {
    signal?.throwIfAborted();
    const pixels = toTensor(images);
    let outputs: Record<Name, tf.Tensor2D>;
    try {
      outputs = await extract(pixels);
    } finally {
      pixels.dispose();
    }
    try {
      for (const [name, output] of Object.entries(outputs) as [Name, tf.Tensor2D][]) {
        const dimension = dimensions.get(name) ?? output.shape[1];
        if (output.rank !== 2 || output.shape[0] !== images.count || output.shape[1] !== dimension)
          throw new MetricError('collectFeatures', `"${name}" is [${output.shape}], expected [${images.count}, ${dimension ?? 'D'}].`);
        dimensions.set(name, dimension);
        const values = (await output.data()) as Float32Array;
        if (wanted === undefined || wanted.includes(name))
          (moments[name] ??= new StreamingMoments(dimension)).add(features(values, dimension));
        if (keep === undefined || keep.includes(name)) append(rows, name, values);
      }
    } finally {
      tf.dispose(outputs as Record<string, tf.Tensor>);
    }
    count += images.count;
    onProgress?.(count);
  }
  if (count === 0) throw new MetricError('collectFeatures', 'there are no images.');
  const kept: Partial<Record<Name, Features>> = {};
  for (const [name, parts] of rows) {
    const data = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      data.set(part, at);
      at += part.length;
    }
    kept[name] = features(data, data.length / count);
  }
  return { count, features: kept, moments };
}

function append<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}

/** `[B, H, W, 3]`; grey images get three equal channels. */
function toTensor({ data, count, height, width, channels }: Pixels): tf.Tensor4D {
  if (channels === 3) return tf.tensor4d(data, [count, height, width, 3], 'int32');
  const rgb = new Uint8Array(data.length * 3);
  for (let i = 0; i < data.length; i++) rgb[3 * i] = rgb[3 * i + 1] = rgb[3 * i + 2] = data[i];
  return tf.tensor4d(rgb, [count, height, width, 3], 'int32');
}

async function* upTo(source: PixelBatches, limit: number): AsyncGenerator<Pixels> {
  let left = limit;
  for await (const batch of source) {
    if (batch.count >= left) {
      const size = batch.height * batch.width * batch.channels;
      yield { ...batch, count: left, data: batch.data.subarray(0, left * size) };
      return;
    }
    left -= batch.count;
    yield batch;
  }
}
