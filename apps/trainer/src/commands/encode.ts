/** `encode`: turns images into a cache of latents, so that training does not run the autoencoder. */
import path from 'node:path';
import {
  fingerprintOf,
  type ImageSource,
  ImageSourceError,
  LatentCacheError,
  type LatentsHeader,
  type LatentsProgress,
  numLatentShards,
  openImages,
  shardsOf,
  TooManySkippedError,
  writeLatents,
} from '@dit-moe/data/node';
import { placeOf } from '@dit-moe/pipeline/node';
import { DitMoeError, type Precision } from '@dit-moe/tensor-ops';
import { FormatError } from '@dit-moe/tensor-ops/io';
import { HubError } from '@dit-moe/tensor-ops/io/node';
import { arrayWorker, type BackendName, parseWorker, startBackend } from '@dit-moe/tensor-ops/node';
import { AutoencoderWeightsError, batchSizeFor, downscale } from '@dit-moe/vae';
import { type OpenedAutoencoder, openAutoencoder } from '@dit-moe/vae/node';
import pc from 'picocolors';
import sharp from 'sharp';
import { CheckpointError, DataError, exitCodes, OutputError, outputError, UsageError } from '../errors.js';
import { formatDuration } from '../run/progress.js';

export interface EncodeFlags {
  images: string;
  vae: string;
  out: string;
  size: number;
  crop: 'center' | 'random';
  seed: number;
  flips: boolean;
  applyOrientation: boolean;
  dtype: 'f16' | 'f32';
  precision: Precision;
  shardSize: number;
  batch?: number;
  memory: number;
  worker?: string;
  maxSkipped: number;
  imageColumn?: string;
  labelColumn?: string;
  offline: boolean;
  backend: BackendName;
  threads?: number;
  json: boolean;
}

/** More pictures per call gain nothing: one of 256 pixels keeps every core busy. */
const MAX_BATCH = 16;
/** Skipped images that are printed; all of them are in the shards. */
const SHOWN = 20;
/** Seconds between two lines of progress where the output is not a terminal. */
const PLAIN_INTERVAL_S = 10;

/** Runs `encode` and returns the exit code. */
export async function encodeCommand(flags: EncodeFlags): Promise<number> {
  try {
    return await encode(flags);
  } catch (error) {
    throw translated(error, flags);
  }
}

async function encode(flags: EncodeFlags): Promise<number> {
  const worker =
    flags.worker === undefined ? arrayWorker(process.env, { remedy: 'Give --worker k/n.' }) : parseWorker(flags.worker, '--worker');
  const log = (message: string): void => void process.stderr.write(`${message}\n`);
  const columns = {
    ...(flags.imageColumn !== undefined && { imageColumn: flags.imageColumn }),
    ...(flags.labelColumn !== undefined && { labelColumn: flags.labelColumn }),
  };
  const source = await openImages(flags.images, columns);
  let opened: OpenedAutoencoder | undefined;
  const stop = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => {
    if (stop.signal.aborted) process.exit(exitCodes.interrupted);
    log(`${signal}: stopping; finished shards stay. Once more ends at once.`);
    stop.abort();
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGUSR1'] as const;
  for (const signal of signals) process.on(signal, onSignal);
  try {
    log(`${source.count} images (${source.kind}), ${source.classNames.length || 'no'} class names`);
    const backend = await startBackend(flags.backend, flags.threads, log);
    log(`backend ${backend.name} ${backend.version}, threads: ${backend.threads}`);
    const memoryBudget = flags.memory * 2 ** 30;
    opened = await openAutoencoder(flags.vae, {
      parts: ['encoder'],
      precision: flags.precision,
      memoryBudget,
      hub: {
        ...(flags.offline && { offline: true }),
        onProgress: ({ file, received, total }) => received === total && log(`fetched ${file}`),
      },
    });
    const { autoencoder, config } = opened;
    if (flags.size % downscale(config) !== 0)
      throw new UsageError(`--size ${flags.size}: this autoencoder takes multiples of ${downscale(config)} pixels.`);
    log(`autoencoder ${opened.location} (${opened.dialect} names), ${autoencoder.precision}`);
    const header = headerOf(flags, source, opened);
    const batchSize =
      flags.batch ?? Math.min(MAX_BATCH, batchSizeFor(config, { part: 'encode', height: flags.size, width: flags.size, memoryBudget }));
    const shards = shardsOf(worker ?? { index: 0, count: 1 }, numLatentShards(header));
    if (worker !== undefined) log(`worker ${worker.index} of ${worker.count}: shards ${shards[0]} to ${shards[1] - 1}`);
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
      onProgress: progressLine(process.stderr),
      async encode(data) {
        const moments = await autoencoder.encodePixels({ data, count: batchSize, height: flags.size, width: flags.size, channels: 3 });
        try {
          return (await moments.data()) as Float32Array;
        } finally {
          moments.dispose();
        }
      },
    });
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
      for (const { key, reason } of skippedImages.slice(0, SHOWN)) console.log(pc.yellow(`skipped ${key}: ${reason}`));
      if (skippedImages.length > SHOWN) console.log(`... and ${skippedImages.length - SHOWN} more; --json prints all.`);
      console.log(
        interrupted
          ? `Stopped after ${done} of ${total} images. Run the same command again; it goes on with the first shard that is missing.`
          : `${done - skippedImages.length} images in ${shards[1] - shards[0]} shards, ${skippedImages.length} skipped${done > encoded ? `; ${done - encoded} had been done before` : ''}: ${flags.out}`,
      );
    }
    return interrupted ? exitCodes.interrupted : exitCodes.ok;
  } finally {
    for (const signal of signals) process.off(signal, onSignal);
    opened?.autoencoder.dispose();
    await source.close();
  }
}

function headerOf(flags: EncodeFlags, source: ImageSource, { autoencoder, config, encoderHash }: OpenedAutoencoder): LatentsHeader {
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
    flips: flags.flips ? 2 : 1,
    source: { kind: source.kind, count: source.count, fingerprint: fingerprintOf(source) },
    classNames: source.classNames,
    shardSize: flags.shardSize,
  };
}

function progressLine(stream: NodeJS.WriteStream): (progress: LatentsProgress) => void {
  const start = performance.now();
  let printed = Number.NEGATIVE_INFINITY;
  return ({ done, total, skipped, encoded }) => {
    const now = performance.now();
    const rate = (1000 * encoded) / (now - start);
    const speed = encoded > 0 ? `${rate.toFixed(1)} images/s  ${formatDuration((total - done) / rate)} left` : 'found done';
    const line = `${done}/${total} images  ${skipped} skipped  ${speed}`;
    const last = done === total;
    if (stream.isTTY) stream.write(`\r\x1b[K${pc.cyan(line)}${last ? '\n' : ''}`);
    else if (last || now - printed >= 1000 * PLAIN_INTERVAL_S) {
      printed = now;
      stream.write(`${line}\n`);
    }
  };
}

/** The error with the exit code that it means. */
function translated(error: unknown, { out }: EncodeFlags): unknown {
  if (!(error instanceof Error)) return error;
  const { message } = error;
  if (error instanceof ImageSourceError || error instanceof TooManySkippedError) return new DataError(message, { cause: error });
  if (error instanceof LatentCacheError) return new OutputError(message, { cause: error });
  if (error instanceof AutoencoderWeightsError || error instanceof HubError || error instanceof FormatError)
    return new CheckpointError(message, { cause: error });
  if (DitMoeError.isInstance(error) && ['E_ARGUMENT', 'E_ARRAY_JOB'].includes(error.code)) return new UsageError(message);
  return DitMoeError.isInstance(error) ? error : outputError(error, out);
}
