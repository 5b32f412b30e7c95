/** A cache of random latents of 256 px images, written and read as those of `encode`. */

import { decodeImage, fingerprintOf, type ImageSource, type LatentsHeader, writeLatents } from '@dit-moe/data/node';
import { randomNormal } from '@dit-moe/tensor-ops';
import sharp from 'sharp';

const CLASSES = 1000;
const BATCH = 64;
/** Numbers of an image's moments. */
export const MOMENTS = 8 * 32 * 32;

/** Fills `folder` with `count` images, in shards of `shardSize`. */
export async function makeLatents(folder: string, count: number, shardSize = count): Promise<void> {
  const picture = await sharp({ create: { width: 8, height: 8, channels: 3, background: 'grey' } })
    .png()
    .toBuffer();
  const source: ImageSource = {
    location: 'memory',
    kind: 'folder',
    count,
    classNames: Array.from({ length: CLASSES }, (_, i) => `class ${i}`),
    endings: new Set(),
    labelsFrom: 'number',
    leftOut: [],
    emptyClasses: [],
    key: String,
    label: (i) => i % CLASSES,
    picture: (i, options) => decodeImage(picture, String(i), options),
    content: async () => '',
    close: async () => {},
  };
  const header: LatentsHeader = {
    format: 'dit-moe-latents',
    version: 1,
    autoencoder: { name: 'none', encoderHash: '', scalingFactor: 1, shiftFactor: 0, precision: 'f32' },
    momentsShape: [8, 32, 32],
    dtype: 'F16',
    preprocessing: { size: 8, crop: 'center', seed: 0, applyOrientation: false },
    flips: 1,
    source: { kind: 'folder', count, fingerprint: await fingerprintOf(source) },
    classNames: source.classNames,
    shardSize,
  };
  const moments = randomNormal({ seed: 1, purpose: 'benchmark', index: 0 }, BATCH * MOMENTS);
  await writeLatents({ source, folder, header, batchSize: BATCH, encode: async () => moments });
}
