/** What a latent cache says about itself: enough to refuse another autoencoder, other images, or another preprocessing. */
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { DitMoeError, type Precision } from '@dit-moe/tensor-ops';
import { makeFolder, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import type { Preprocessing } from '../pictures/preprocess.js';
import type { ImageSource } from '../sources/image-source.js';

const LATENTS_HEADER = 'latents.json';

/** `latents.json`. */
export interface LatentsHeader {
  format: 'dit-moe-latents';
  version: 1;
  autoencoder: {
    /** Preset or folder it was loaded from; only informs. */
    name: string;
    /** sha256 of the encoder's weights: that of `sd-vae-ft-mse` and `-ema` is the same, since they differ in the decoder only. */
    encoderHash: string;
    /** Latents for a diffusion model are `(sample - shiftFactor) * scalingFactor`, each one number or one for each channel. */
    scalingFactor: number | readonly number[];
    shiftFactor: number | readonly number[];
    /** What the encoder was computed in. */
    precision: Precision;
  };
  /** Shape of the moments of one image: `[2 latentChannels, h, w]`, mean before log variance. */
  momentsShape: [number, number, number];
  dtype: 'F16' | 'F32';
  preprocessing: Required<Preprocessing>;
  /** Moments per image: 1, or 2 with those of the mirrored image second. */
  flips: 1 | 2;
  source: {
    kind: ImageSource['kind'];
    /** Images of the source, unusable ones included. */
    count: number;
    /** Of the source, see `fingerprintOf`. */
    fingerprint: string;
  };
  classNames: readonly string[];
  /** Images of the source per shard: shard i has those from `i * shardSize`, less the unusable ones. */
  shardSize: number;
}

/** A latent cache that cannot be read or continued. */
export class LatentCacheError extends DitMoeError {
  static override readonly code = 'E_LATENT_CACHE';
  constructor(where: string, problem: string, options?: ErrorOptions) {
    super(`${where}: ${problem}`, options);
  }
}

/** Number of shards of a cache. */
export const numShards = ({ source, shardSize }: LatentsHeader): number => Math.ceil(source.count / shardSize);

export const shardName = (index: number, count: number): string => {
  const digits = (n: number): string => String(n).padStart(5, '0');
  return `latents-${digits(index)}-of-${digits(count)}.safetensors`;
};

/** Identifies what a shard was made from; the autoencoder's name does not count. */
export function identityOf(header: LatentsHeader): string {
  const { autoencoder, ...rest } = header;
  return createHash('sha256')
    .update(JSON.stringify(sorted({ ...rest, autoencoder: { ...autoencoder, name: '' } })))
    .digest('hex');
}

/** @throws LatentCacheError if there is none, or it is damaged or of another version */
export async function readHeader(folder: string): Promise<LatentsHeader> {
  const file = path.join(folder, LATENTS_HEADER);
  let header: LatentsHeader;
  try {
    header = JSON.parse(await fs.readFile(file, 'utf8')) as LatentsHeader;
  } catch (cause) {
    const problem =
      (cause as NodeJS.ErrnoException).code === 'ENOENT'
        ? 'it does not exist; make a cache with `dit-moe-trainer encode`.'
        : `it cannot be read (${(cause as Error).message}).`;
    throw new LatentCacheError(file, problem, { cause });
  }
  if (header.format !== 'dit-moe-latents' || header.version !== 1)
    throw new LatentCacheError(file, `expected format dit-moe-latents, version 1, found ${header.format}, version ${header.version}.`);
  const { momentsShape, shardSize, source } = header;
  const whole = (n: unknown): boolean => Number.isSafeInteger(n) && (n as number) > 0;
  if (!Array.isArray(momentsShape) || momentsShape.length !== 3 || ![...momentsShape, shardSize, source?.count].every(whole))
    throw new LatentCacheError(file, 'momentsShape, shardSize or source.count is missing or no positive integer.');
  return header;
}

/**
 * Writes the header, or checks it against one that is there: from an earlier run, or from another worker.
 * @throws LatentCacheError naming the settings that differ
 */
export async function agreeOnHeader(folder: string, header: LatentsHeader): Promise<void> {
  await makeFolder(folder);
  const there = await readHeader(folder).catch((error: LatentCacheError) => {
    if ((error.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') return undefined;
    throw error;
  });
  if (there === undefined) return writeFileAtomically(path.join(folder, LATENTS_HEADER), `${JSON.stringify(header, null, 2)}\n`);
  if (identityOf(there) === identityOf(header)) return;
  const differing = (Object.keys(header) as (keyof LatentsHeader)[]).filter(
    (key) => JSON.stringify(sorted(there[key])) !== JSON.stringify(sorted(header[key])),
  );
  const show = (from: LatentsHeader): string => differing.map((key) => `${key} ${JSON.stringify(from[key]).slice(0, 200)}`).join(', ');
  throw new LatentCacheError(
    folder,
    `it holds latents made with other settings: ${show(there)}; asked for: ${show(header)}. Choose another folder.`,
  );
}

/** The same value with the keys of records in alphabetical order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, sorted(inner)]),
  );
}
