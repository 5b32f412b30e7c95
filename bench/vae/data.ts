/** Reading side of the benchmark: preprocessing against a bare sharp loop, and random reads of a latent cache. */
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { LatentCache, preprocessImage } from '@dit-moe/data/node';
import sharp from 'sharp';
import { type BenchmarkOptions, type BenchmarkResult, result } from '../harness/benchmark.js';
import { MOMENTS, makeLatents } from '../harness/latents.js';
import { interleave, type Repetitions, timer } from '../harness/measure.js';

/** Pictures under way at once, as `encode` has them. */
const AT_ONCE = 8;

/** A JPEG such as ImageNet's: 500 x 375, quality 96, without chroma subsampling; noise that compresses to their usual size. */
async function photograph(): Promise<Buffer> {
  const [width, height] = [500, 375];
  let state = 1;
  const pixels = Buffer.alloc(3 * width * height);
  for (let i = 0; i < pixels.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const [x, y] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width)];
    pixels[i] = 128 + 60 * Math.sin(x / 23 + (i % 3)) * Math.cos(y / 17) + 40 * Math.sin((x * y) / 900) + (state >>> 28);
  }
  return sharp(pixels, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: 96, chromaSubsampling: '4:4:4' })
    .toBuffer();
}

/** Preprocessing and latent reads. */
export async function reading({ quick, log }: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const repetitions: Repetitions = quick ? { warmUp: 1, rounds: 4, perRound: 1 } : { warmUp: 2, rounds: 8, perRound: 2 };
  const lines = [await preprocessing(repetitions), await latentReads(repetitions)];
  for (const { name, value, unit, ratio } of lines)
    log(`${name}: ${value.toFixed(0)} ${unit}${ratio === null ? '' : `, ratio ${ratio.toFixed(2)}`}`);
  return lines;
}

/** Images/s of crops equal to the reference's; the peer is sharp's own resize to the same size. */
async function preprocessing(repetitions: Repetitions): Promise<BenchmarkResult> {
  sharp.concurrency(1);
  const file = await photograph();
  const count = 64;
  const loop = (work: () => Promise<unknown>) =>
    timer(async () => {
      let left = count;
      await Promise.all(
        Array.from({ length: AT_ONCE }, async () => {
          while (left-- > 0) await work();
        }),
      );
    });
  const ours = loop(() => preprocessImage(file, 'photograph', { size: 256 }));
  const bare = loop(() => sharp(file).resize(256, 256, { kernel: 'cubic', fastShrinkOnLoad: false }).raw().toBuffer());
  const [value, other] = (await interleave([ours, bare], repetitions)) as [number, number];
  return result('preprocessing-256', 'images/s', 'more', count / value, count / other);
}

/** Samples/s of random reads of moments of 256 px images in half precision. */
async function latentReads(repetitions: Repetitions): Promise<BenchmarkResult> {
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'bench-latents-'));
  const count = 8192;
  const batch = 256;
  try {
    await makeLatents(folder, count, 4096);
    const cache = await LatentCache.open(folder);
    const into = new Float32Array(batch * MOMENTS);
    let state = 1;
    const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) % count;
    const [seconds] = await interleave([timer(async () => void (await cache.read(Array.from({ length: batch }, next), undefined, into)))], {
      ...repetitions,
      perRound: 10,
    });
    await cache.close();
    return result('latent-reads', 'samples/s', 'more', batch / seconds, null);
  } finally {
    await fs.rm(folder, { recursive: true });
  }
}
