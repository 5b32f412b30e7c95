/**
 * Latents that `encode` wrote: moments of the autoencoder's posterior, of which every use draws a fresh sample (as REPA does; storing
 * one sample would repeat its noise in every epoch).
 */
import { createHash } from 'node:crypto';
import { LatentCache, LatentCacheError } from '@dit-moe/data/node';
import { DataError } from '@dit-moe/kit';
import { placeOf } from '@dit-moe/pipeline/node';
import { randomNormal } from '@dit-moe/tensor-ops';
import { ofChannels, samplePosteriorOnHost } from '@dit-moe/vae';
import { classesOf } from './classes.js';
import type { Part } from './part.js';
import type { DataSource } from './source.js';

/**
 * Opens a latent cache for training.
 * @param options `flip`: mirrored latents are asked for; `seed` of the posterior's samples
 * @param part which of the latents (default all)
 * @throws DataError if it is no cache, not complete, or has no mirrored latents
 */
export async function openLatents(folder: string, options: { flip: boolean; seed: number }, part?: Part): Promise<DataSource> {
  const cache = await LatentCache.open(folder).catch((error: Error) => {
    throw LatentCacheError.isInstance(error) ? new DataError(error.message, { cause: error }) : error;
  });
  try {
    return await sourceOf(cache, folder, options, part);
  } catch (error) {
    await cache.close();
    throw error;
  }
}

async function sourceOf(cache: LatentCache, folder: string, options: { flip: boolean; seed: number }, part?: Part): Promise<DataSource> {
  const { header, labels } = cache;
  if (options.flip && header.flips === 1)
    throw new DataError(`${folder} has no mirrored latents. Encode again with both, or train with --set data.flip=false.`);
  const [channels, height, width] = [header.momentsShape[0] / 2, header.momentsShape[1], header.momentsShape[2]];
  const { scalingFactor, shiftFactor, encoderHash, name } = header.autoencoder;
  const { names: classNames, labelOf } = classesOf(folder, header.classNames, labels);
  const length = channels * height * width;
  const [shifts, scales] = [ofChannels(shiftFactor, channels), ofChannels(scalingFactor, channels)];
  const records = part?.recordsOf(cache.count);
  const recordOf = (i: number): number => records?.[i] ?? i;
  return {
    ...{ count: records?.length ?? cache.count, channels, height, width, classNames },
    summary: `${cache.count} latents (${channels} x ${height} x ${width}), ${classNames.length} classes${part === undefined ? '' : `; ${part.describe(cache.count)}`}`,
    skipped: cache.skipped.map(({ key, reason }) => ({ file: key, reason })),
    latents: { scalingFactor, shiftFactor, downsampling: header.preprocessing.size / width, vae: encoderHash, autoencoder: placeOf(name) },
    fingerprint: `files:${createHash('sha256')
      .update(JSON.stringify(header))
      .update(new Uint8Array(labels.buffer))
      .update(await cache.content())
      .digest('hex')}${part === undefined ? '' : ` ${part.name}`}`,
    async read(requests, out) {
      const moments = await cache.read(
        requests.map(({ record }) => recordOf(record)),
        requests.map(({ flip }) => flip),
      );
      for (const [b, { index }] of requests.entries()) {
        const noise = randomNormal({ seed: options.seed, purpose: 'posterior', index }, length);
        const sample = samplePosteriorOnHost(moments.subarray(2 * b * length, 2 * (b + 1) * length), noise);
        for (let i = 0; i < length; i++) {
          const channel = Math.floor(i / (height * width));
          out[b * length + i] = (sample[i] - shifts[channel]) * scales[channel];
        }
      }
      return Int32Array.from(requests, ({ record }) => labelOf(labels[recordOf(record)]));
    },
    close: () => cache.close(),
  };
}
