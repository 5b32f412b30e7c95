/** `train-vae`: trains a small autoencoder on images, for those without published weights or with pictures of another kind. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { contactSheet, encodePng, imagesOfPixels, joinPixels, type Pixels, slicePixels, zoomTo } from '@dit-moe/data';
import { cropped, describeImages, ImageError, type ImageSourceOptions } from '@dit-moe/data/node';
import { createProgress, DataError, exitCodes, interruption, OutputError, UsageError } from '@dit-moe/kit';
import { permutation } from '@dit-moe/tensor-ops';
import { writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import { type BackendName, startBackend } from '@dit-moe/tensor-ops/node';
import { Autoencoder, type AutoencoderConfig, AutoencoderTrainer, measureScaling, scaleLatents, stableDiffusionConfig } from '@dit-moe/vae';
import { saveAutoencoder } from '@dit-moe/vae/node';
import * as tf from '@tensorflow/tfjs-core';
import { openSource } from '../data/images.js';
import { type ImageFlags, imageSourceOf } from './image-options.js';

export interface TrainVaeFlags extends ImageFlags {
  images: string;
  out: string;
  size: number;
  downscale: 2 | 4 | 8;
  channels: number;
  latentChannels: number;
  steps: number;
  batch: number;
  learningRate: number;
  loss: 'l1' | 'l2';
  klWeight: number;
  seed: number;
  backend: BackendName;
  threads?: number;
  json: boolean;
}

/** Most images kept in memory; a small autoencoder does not need more to learn from. */
const MAX_IMAGES = 20_000;
/** Images that scale and reconstructions are measured on. */
const MEASURED = 64;
/** How often the average of the weights is made anew in a run, whatever its length. */
const EMA_WINDOWS = 20;
const WARMUP_STEPS = 50;
/** Small pictures are enlarged to about this edge. */
const SHOWN_EDGE = 64;
/** Fewer than Stable Diffusion's 32, because the channels are fewer. */
const NORM_GROUPS = 8;

/** Runs `train-vae` and returns the exit code. */
export async function trainVaeCommand(flags: TrainVaeFlags): Promise<number> {
  const { size, downscale, steps, batch, seed, out } = flags;
  if (size % downscale !== 0) throw new UsageError(`--size ${size}: expected a multiple of --downscale ${downscale}.`);
  if (flags.channels % NORM_GROUPS !== 0) throw new UsageError(`--channels ${flags.channels}: expected a multiple of ${NORM_GROUPS}.`);
  if (await holdsAutoencoder(out)) throw new OutputError(`${out} holds an autoencoder already. Choose another folder, or remove it.`);
  const progress = createProgress();
  const log = progress.log;
  progress.phase('reading the images');
  const { pictures, skipped, summary } = await readImages(flags.images, imageSourceOf(flags), size);
  log(summary);
  log(`${pictures.length} images of ${size} x ${size} pixels${skipped > 0 ? `, ${skipped} could not be read` : ''}`);
  const backend = await startBackend(flags.backend, flags.threads, log);
  log(`backend ${backend.name} ${backend.version}, threads: ${backend.threads}`);
  const levels = Math.log2(downscale) + 1;
  const config: AutoencoderConfig = {
    ...stableDiffusionConfig,
    latentChannels: flags.latentChannels,
    blockOutChannels: Array.from({ length: levels }, (_, level) => flags.channels * Math.min(2, level + 1)),
    layersPerBlock: 1,
    normNumGroups: NORM_GROUPS,
    sampleSize: size,
  };
  const emaDecay = Math.max(0, 1 - EMA_WINDOWS / steps);
  const trainer = new AutoencoderTrainer(config, { seed, emaDecay, reconstruction: flags.loss, klWeight: flags.klWeight });
  const stop = interruption((cause) => log(`${cause}: stopping and saving what has been learnt. Once more ends at once.`));
  let done = 0;
  let report = { loss: Number.NaN, reconstruction: Number.NaN, kl: Number.NaN };
  try {
    const orders = new Map<number, (position: number) => number>();
    const imageOf = (sample: number): Pixels => {
      const epoch = Math.floor(sample / pictures.length);
      if (!orders.has(epoch)) orders.set(epoch, permutation({ seed, purpose: 'autoencoder.order', epoch }, pictures.length));
      return pictures[orders.get(epoch)!(sample % pictures.length)];
    };
    for (let step = 0; step < steps && !stop.signal.aborted; step++) {
      const samples = Array.from({ length: batch }, (_, i) => step * batch + i);
      const images = tensorOf(samples.map(imageOf));
      // A linear rise, then half a cosine down.
      const rate = flags.learningRate * Math.min(1, (step + 1) / WARMUP_STEPS) * 0.5 * (1 + Math.cos((Math.PI * step) / steps));
      report = await trainer.step(images, samples, rate).finally(() => images.dispose());
      if (!Number.isFinite(report.loss)) throw new UsageError(`The loss is ${report.loss} at step ${step + 1}: lower --learning-rate.`);
      done = step + 1;
      progress.update({
        ...{ what: 'step', done, total: steps },
        details: [`${flags.loss} ${report.reconstruction.toFixed(4)}`, `kl ${report.kl.toFixed(0)} nats`],
      });
    }
    const weights = trainer.weights();
    const measured = pictures.slice(0, MEASURED);
    const images = tensorOf(measured);
    const scaled = { ...config, ...(await measureScaling(weights, config, images).finally(() => images.dispose())) };
    progress.phase('measuring and saving');
    await saveAutoencoder(out, weights, scaled);
    const error = await drawReconstructions(path.join(out, 'reconstructions.png'), new Autoencoder(weights, scaled), joinPixels(measured));
    progress.done();
    const result = {
      out: path.resolve(out),
      images: pictures.length,
      skipped,
      steps: done,
      reconstruction: report.reconstruction,
      kl: report.kl,
      meanPixelError: error,
    };
    if (flags.json) console.log(JSON.stringify({ ...result, scalingFactor: scaled.scalingFactor, shiftFactor: scaled.shiftFactor }));
    else
      console.log(
        `${done} steps, pixels differ by ${error.toFixed(1)} of 255 on average. Look at ${path.join(out, 'reconstructions.png')}`,
      );
    return done < steps ? exitCodes.interrupted : exitCodes.ok;
  } finally {
    stop.release();
    progress.done();
    trainer.dispose();
  }
}

const holdsAutoencoder = (folder: string): Promise<boolean> =>
  fs.access(path.join(folder, 'config.json')).then(
    () => true,
    () => false,
  );

async function readImages(
  location: string,
  options: ImageSourceOptions,
  size: number,
): Promise<{ pictures: Pixels[]; skipped: number; summary: string }> {
  const source = await openSource(location, options);
  try {
    const order = permutation({ seed: 0, purpose: 'autoencoder.images', epoch: 0 }, source.count);
    const pictures: Pixels[] = [];
    let skipped = 0;
    let reason = '';
    for (let i = 0; i < Math.min(source.count, MAX_IMAGES); i++) {
      const index = order(i);
      try {
        pictures.push(cropped(await source.picture(index), { size }, index));
      } catch (error) {
        if (!(error instanceof ImageError)) throw error;
        skipped++;
        reason = error.message;
      }
    }
    if (pictures.length === 0) throw new DataError(`No image of ${location} can be read; the last is ${reason}`);
    return { pictures, skipped, summary: describeImages(source) };
  } finally {
    await source.close();
  }
}

/** `[B, 3, size, size]` in [-1, 1]. */
function tensorOf(pictures: readonly Pixels[]): tf.Tensor {
  return tf.tidy(() => {
    const { data, count, height, width, channels } = joinPixels(pictures);
    return tf.transpose(imagesOfPixels(tf.tensor(data, [count, height, width, channels], 'int32')), [0, 3, 1, 2]);
  });
}

/** Pictures above what becomes of them, in pairs of rows. Frees the autoencoder. @returns mean difference of the pixels, 0..255 */
async function drawReconstructions(file: string, autoencoder: Autoencoder, originals: Pixels): Promise<number> {
  const { latentChannels } = autoencoder.config;
  const moments = await autoencoder.encodePixels(originals);
  const latents = tf.tidy(() => {
    const mean = tf.slice(moments, [0, 0, 0, 0], [originals.count, latentChannels, moments.shape[2]!, moments.shape[3]!]);
    return scaleLatents(mean, autoencoder.config);
  });
  const decoded = await autoencoder.decodeToPixels(latents);
  tf.dispose([moments, latents]);
  autoencoder.dispose();
  const columns = Math.min(8, originals.count);
  const rows: Pixels[] = [];
  for (let from = 0; from + columns <= Math.min(originals.count, 4 * columns); from += columns)
    for (const side of [originals, decoded]) rows.push(slicePixels(side, from, from + columns));
  const sheet = contactSheet(joinPixels(rows), columns, zoomTo(SHOWN_EDGE, originals));
  await writeFileAtomically(file, encodePng(sheet));
  return originals.data.reduce((sum, v, i) => sum + Math.abs(v - decoded.data[i]), 0) / originals.data.length;
}
