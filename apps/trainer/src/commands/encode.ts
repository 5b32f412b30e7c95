/** `encode`: turns images into a cache of latents, so that training does not run the autoencoder. */
import path from 'node:path';
import {
  describeImages,
  fingerprintOf,
  type ImageSource,
  type LatentsHeader,
  type LatentsProgress,
  numLatentShards,
  shardsOf,
  writeLatents,
} from '@dit-moe/data/node';
import { coloursFor, createProgress, exitCodes, interruption, type Progress, UsageError } from '@dit-moe/kit';
import { workerShare } from '@dit-moe/kit/share';
import { placeOf } from '@dit-moe/pipeline/node';
import type { Precision } from '@dit-moe/tensor-ops';
import { type BackendName, startBackend } from '@dit-moe/tensor-ops/node';
import { batchSizeFor, downscale } from '@dit-moe/vae';
import { type OpenedAutoencoder, openAutoencoder } from '@dit-moe/vae/node';
import sharp from 'sharp';
import { openSource } from '../data/images.js';
import { type ImageFlags, imageSourceOf } from './image-options.js';

export interface EncodeFlags extends ImageFlags {
  images: string;
  vae: string;
  out: string;
  size: number;
  crop: 'center' | 'random';
  seed: number;
  flip: boolean;
  applyOrientation: boolean;
  dtype: 'f16' | 'f32';
  precision: Precision;
  shardSize: number;
  batch?: number;
  memory: number;
  part?: string;
  parts?: number;
  maxSkipped: number;
  backend: BackendName;
  threads?: number;
  json: boolean;
}

/** More pictures per call gain nothing: one of 256 pixels keeps every core busy. */
const MAX_BATCH = 16;
/** Skipped images that are printed; all of them are in the shards. */
const SHOWN = 20;

/** Runs `encode` and returns the exit code. */
export async function encodeCommand(flags: EncodeFlags): Promise<number> {
  const worker = workerShare(flags.part, flags.parts, process.env);
  const progress = createProgress();
  const log = progress.log;
  progress.phase('listing the images');
  const source = await openSource(flags.images, imageSourceOf(flags));
  let opened: OpenedAutoencoder | undefined;
  const stop = interruption((cause) => log(`${cause}: stopping; finished shards stay. Once more ends at once.`));
  try {
    log(describeImages(source));
    const backend = await startBackend(flags.backend, flags.threads, log);
    log(`backend ${backend.name} ${backend.version}, threads: ${backend.threads}`);
    const memoryBudget = flags.memory * 2 ** 30;
    opened = await openAutoencoder(flags.vae, {
      parts: ['encoder'],
      precision: flags.precision,
      memoryBudget,
      hub: {
        onProgress: ({ file, received, total }) => received === total && log(`fetched ${file}`),
      },
    });
    const { autoencoder, config } = opened;
    if (flags.size % downscale(config) !== 0)
      throw new UsageError(`--size ${flags.size}: this autoencoder takes multiples of ${downscale(config)} pixels.`);
    log(`autoencoder ${opened.location} (${opened.dialect} names), ${autoencoder.precision}`);
    const header = headerOf(flags, source, await fingerprintOf(source), opened);
    const batchSize =
      flags.batch ?? Math.min(MAX_BATCH, batchSizeFor(config, { part: 'encode', height: flags.size, width: flags.size, memoryBudget }));
    const shards = shardsOf(worker, numLatentShards(header));
    const made = shards[1] - shards[0];
    if (worker.count > 1)
      log(`worker ${worker.index} of ${worker.count}: ${made === 0 ? 'no shards' : `shards ${shards[0]} to ${shards[1] - 1}`}`);
    // Parallelism comes from many pictures at once; threads inside one picture only get in the way.
    sharp.concurrency(1);
    const result = await writeLatents({
      source,
      folder: flags.out,
      header,
      batchSize,
      shards,
      maxSkipped: flags.maxSkipped,
      signal: stop.signal,
      onProgress: reportTo(progress),
      async encode(data) {
        const moments = await autoencoder.encodePixels({ data, count: batchSize, height: flags.size, width: flags.size, channels: 3 });
        try {
          return (await moments.data()) as Float32Array;
        } finally {
          moments.dispose();
        }
      },
    });
    progress.done();
    const { interrupted, done, total, encoded, skippedImages } = result;
    const summary = {
      images: done - skippedImages.length,
      skipped: skippedImages,
      encoded,
      shards,
      of: numLatentShards(header),
      interrupted,
    };
    if (flags.json)
      console.log(JSON.stringify({ ...summary, out: path.resolve(flags.out), precision: autoencoder.precision, backend: backend.name }));
    else {
      for (const { key, reason } of skippedImages.slice(0, SHOWN))
        console.log(coloursFor(process.stdout).yellow(`skipped ${key}: ${reason}`));
      if (skippedImages.length > SHOWN) console.log(`... and ${skippedImages.length - SHOWN} more; --json prints all.`);
      console.log(
        interrupted
          ? `Stopped after ${done} of ${total} images. Run the same command again; it goes on with the first shard that is missing.`
          : `${done - skippedImages.length} images in ${made} shard${made === 1 ? '' : 's'}, ${skippedImages.length} skipped${done > encoded ? `; ${done - encoded} had been done before` : ''}: ${flags.out}`,
      );
    }
    return interrupted ? exitCodes.interrupted : exitCodes.ok;
  } finally {
    stop.release();
    progress.done();
    opened?.autoencoder.dispose();
    await source.close();
  }
}

function headerOf(
  flags: EncodeFlags,
  source: ImageSource,
  fingerprint: string,
  { autoencoder, config, encoderHash }: OpenedAutoencoder,
): LatentsHeader {
  const edge = flags.size / downscale(config);
  return {
    format: 'dit-moe-latents',
    version: 1,
    autoencoder: {
      name: placeOf(flags.vae),
      encoderHash: encoderHash!,
      scalingFactor: config.scalingFactor,
      shiftFactor: config.shiftFactor,
      precision: autoencoder.precision,
    },
    momentsShape: [2 * config.latentChannels, edge, edge],
    dtype: flags.dtype === 'f16' ? 'F16' : 'F32',
    preprocessing: { size: flags.size, crop: flags.crop, seed: flags.seed, applyOrientation: flags.applyOrientation },
    flips: flags.flip ? 2 : 1,
    source: { kind: source.kind, count: source.count, fingerprint },
    classNames: source.classNames,
    shardSize: flags.shardSize,
  };
}

function reportTo(progress: Progress): (state: LatentsProgress) => void {
  const start = performance.now();
  return ({ done, total, skipped, encoded }) => {
    const speed = encoded > 0 ? `${((1000 * encoded) / (performance.now() - start)).toFixed(1)} images/s` : 'found done';
    progress.update({ what: 'image', done, total, details: [`${skipped} skipped`, speed] });
  };
}
