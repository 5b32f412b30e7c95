/** A cache of random latents of 256 px images, written and read as those of `encode`. */
import { randomNormal } from '@dit-moe/tensor-ops';
import { fingerprintOf, type ImageSource, type LatentsHeader, writeLatents } from '@dit-moe/vae/node';
import sharp from 'sharp';

const COUNT = 256;
const CLASSES = 1000;

/** Fills `folder`. */
export async function makeLatents(folder: string): Promise<void> {
  const picture = await sharp({ create: { width: 8, height: 8, channels: 3, background: 'grey' } })
    .png()
    .toBuffer();
  const source: ImageSource = {
    location: 'memory',
    kind: 'folder',
    count: COUNT,
    classNames: Array.from({ length: CLASSES }, (_, i) => `class ${i}`),
    key: String,
    label: (i) => i,
    read: async () => picture,
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
    source: { kind: 'folder', count: COUNT, fingerprint: fingerprintOf(source) },
    classNames: source.classNames,
    shardSize: COUNT,
  };
  const moments = randomNormal({ seed: 1, purpose: 'benchmark', index: 0 }, 64 * 8192);
  await writeLatents({ source, folder, header, batchSize: 64, encode: async () => moments });
}
