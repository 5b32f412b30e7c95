/** `train-classifier`: trains a small network that tells the classes of real images, to judge samples with. */
import path from 'node:path';
import { joinPixels, type Pixels } from '@dit-moe/data';
import { cropped, describeImages, ImageError, type ImageSource } from '@dit-moe/data/node';
import { createProgress, DataError, exitCodes, interruption, UsageError } from '@dit-moe/kit';
import { prepareOutput } from '@dit-moe/kit/output';
import { accuracy, classifierExtractor, collectFeatures, trainClassifier } from '@dit-moe/metrics';
import { saveClassifier } from '@dit-moe/metrics/node';
import { permutation } from '@dit-moe/tensor-ops';
import { type BackendName, startBackend } from '@dit-moe/tensor-ops/node';
import { classesOf } from '../data/classes.js';
import { openSource } from '../data/images.js';
import { type ImageFlags, imageSourceOf } from './image-options.js';

export interface TrainClassifierFlags extends ImageFlags {
  images: string;
  out: string;
  heldOut?: string;
  size?: number;
  epochs: number;
  flip: boolean;
  seed: number;
  backend: BackendName;
  threads?: number;
  json: boolean;
}

/** Without `--held-out`: one image of so many tells how good it is, and is not learnt from. */
const HELD_OUT_SHARE = 10;

/** Runs `train-classifier` and returns the exit code. */
export async function trainClassifierCommand(flags: TrainClassifierFlags): Promise<number> {
  await prepareOutput(flags.out);
  const progress = createProgress();
  const log = progress.log;
  const stop = interruption((cause) => log(`${cause}: stopping; nothing is kept. Once more ends at once.`));
  try {
    progress.phase('reading the images');
    const all = await readLabelled(flags.images, flags, log);
    const held =
      flags.heldOut === undefined
        ? undefined
        : await readLabelled(flags.images, { ...flags, size: all.pixels.width, split: flags.heldOut }, log);
    if (held !== undefined && held.classNames.join('\n') !== all.classNames.join('\n'))
      throw new DataError(`The classes of --held-out ${flags.heldOut} are others than those of the images to learn from.`, {
        expected: all.classNames.join(', '),
        found: held.classNames.join(', '),
      });
    const [own, judged] = held === undefined ? parted(all, flags.seed) : [all, held];
    const backend = await startBackend(flags.backend, flags.threads, log);
    log(`backend ${backend.name} ${backend.version}, threads: ${backend.threads}`);
    const config = { size: own.pixels.width, classNames: own.classNames };
    const { seed, epochs, flip } = flags;
    const weights = await trainClassifier(own.pixels, own.labels, config, {
      ...{ seed, epochs, flip, signal: stop.signal },
      onProgress: ({ step, steps, loss }) =>
        progress.update({ what: 'step', done: step, total: steps, details: [`loss ${loss.toFixed(4)}`] }),
    });
    const extractor = classifierExtractor(weights, config);
    try {
      const { features } = await collectFeatures([judged.pixels], extractor.extract, { batch: 128, keep: ['logits'], moments: [] });
      const heldOut = { accuracy: accuracy(features.logits!, judged.labels), images: judged.labels.length };
      const { sha256 } = await saveClassifier(flags.out, weights, { ...config, heldOut });
      progress.done();
      const result = { out: path.resolve(flags.out), images: own.labels.length, classes: own.classNames, heldOut, sha256 };
      if (flags.json) console.log(JSON.stringify(result));
      else
        console.log(
          `${(100 * heldOut.accuracy).toFixed(2)} % of ${heldOut.images} held-out images are told right: ${flags.out}, learnt from ${own.labels.length}.`,
        );
      return exitCodes.ok;
    } finally {
      extractor.dispose();
      weights.dispose();
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    return exitCodes.interrupted;
  } finally {
    stop.release();
    progress.done();
  }
}

interface Labelled {
  pixels: Pixels;
  labels: number[];
  classNames: readonly string[];
}

async function readLabelled(location: string, flags: TrainClassifierFlags, log: (line: string) => void): Promise<Labelled> {
  const source = await openSource(location, imageSourceOf(flags));
  try {
    log(describeImages(source));
    const labels = Array.from({ length: source.count }, (_, i) => source.label(i));
    const { names } = classesOf(location, source.classNames, labels);
    if (names.length < 2) throw new UsageError(`${location} has one class: there is nothing to tell apart.`);
    return await pixelsOf(source, flags.size, names, log);
  } finally {
    await source.close();
  }
}

/** All images that have a label and can be read. */
async function pixelsOf(
  source: ImageSource,
  size: number | undefined,
  classNames: readonly string[],
  log: (line: string) => void,
): Promise<Labelled> {
  const pictures: Pixels[] = [];
  const labels: number[] = [];
  const left: string[] = [];
  let edge = size;
  for (let i = 0; i < source.count; i++) {
    if (source.label(i) < 0) left.push(`${source.key(i)}: it has no label`);
    else
      try {
        const picture = await source.picture(i);
        edge ??= Math.min(picture.width, picture.height);
        pictures.push(cropped(picture, { size: edge }, i));
        labels.push(source.label(i));
      } catch (error) {
        if (!ImageError.isInstance(error)) throw error;
        left.push((error as Error).message);
      }
  }
  if (pictures.length === 0) throw new DataError(`No image of ${source.location} can be used; the first: ${left[0]}`);
  if (left.length > 0) log(`${left.length} images are left out, the first: ${left[0]}`);
  return { pixels: joinPixels(pictures), labels, classNames };
}

/** Images to learn from, and every tenth in an order that the seed tells to be judged. */
function parted(all: Labelled, seed: number): [Labelled, Labelled] {
  const count = all.labels.length;
  const order = permutation({ seed, purpose: 'classifier.held-out', epoch: 0 }, count);
  const chosen = Array.from({ length: count }, (_, i) => order(i));
  const cut = Math.ceil(count / HELD_OUT_SHARE);
  const bytes = all.pixels.data.length / count;
  const of = (indices: readonly number[]): Labelled => {
    const data = new Uint8Array(indices.length * bytes);
    for (const [to, from] of indices.entries()) data.set(all.pixels.data.subarray(from * bytes, (from + 1) * bytes), to * bytes);
    return { ...all, pixels: { ...all.pixels, data, count: indices.length }, labels: indices.map((i) => all.labels[i]) };
  };
  return [of(chosen.slice(cut)), of(chosen.slice(0, cut))];
}
