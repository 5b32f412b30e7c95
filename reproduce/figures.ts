/**
 * Figures of the models that come along: `pnpm models:figures`, after `pnpm models`, which fetches the images.
 *
 * For each model, samples beside real images, and samples above the images of the training that are most like them; for all, the denoising and the
 * experts over the image.
 */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { contactSheet, encodePng, joinPixels, type Pixels, pictureAt, zoomTo } from '@dit-moe/data';
import { bundledModels } from '@dit-moe/models';
import { openPipeline } from '@dit-moe/pipeline/node';
import { permutation } from '@dit-moe/tensor-ops';
import { root, runLine } from './commands.js';
import { imagesOf, type Labelled, medianDistance, NEIGHBOURS, nearest } from './nearest.js';
import { recipes } from './recipes.js';

const FIGURES = 'docs/figures';
/** Of each class. */
const [REAL, SAMPLES] = [4, 8];
/** Samples and held-out images whose distance to the nearest image of the training is measured. */
const MEASURED = 100;

/** Some of the pictures, evenly chosen by a fixed order. */
function some({ pixels }: Labelled, count: number): Pixels {
  const order = permutation({ seed: 0, purpose: 'figures', epoch: 0 }, pixels.count);
  return joinPixels(Array.from({ length: Math.min(count, pixels.count) }, (_, i) => pictureAt(pixels, order(i))));
}

const write = (name: string, pixels: Pixels, columns: number): void =>
  fs.writeFileSync(path.join(root, FIGURES, `${name}.png`), encodePng(contactSheet(pixels, columns, zoomTo(64, pixels))));

for (const { name, weights } of bundledModels) {
  const { images, splits } = recipes[name];
  const pipeline = await openPipeline(fileURLToPath(weights));
  const { classNames, config } = pipeline.card;
  const train = await imagesOf(images, splits?.[0], config.inputSize[0], config.inChannels);
  const perClass = Math.max(SAMPLES, Math.ceil(MEASURED / classNames.length));
  const samples = await pipeline.sample({
    labels: classNames.flatMap((_, label) => Array<number>(perClass).fill(label)),
    seed: 1,
    steps: 25,
  });
  pipeline.dispose();
  const blank = { ...pictureAt(samples, 0), data: new Uint8Array(pictureAt(samples, 0).data.length).fill(255) };
  const rows = classNames.flatMap((_, label) => {
    const own = train.labels.flatMap((of, i) => (of === label ? [i] : []));
    const real = Array.from({ length: REAL }, (_, i) => pictureAt(train.pixels, own[Math.floor(((i + 0.5) * own.length) / REAL)]));
    return [...real, blank, ...Array.from({ length: SAMPLES }, (_, i) => pictureAt(samples, label * perClass + i))];
  });
  write(`models-${name}`, joinPixels(rows), REAL + 1 + SAMPLES);
  const firsts = classNames.map((_, label) => pictureAt(samples, label * perClass));
  const neighbours = firsts.map(({ data }) => nearest(train.pixels, data).indices);
  const below = Array.from({ length: NEIGHBOURS }, (_, n) => neighbours.map((indices) => pictureAt(train.pixels, indices[n])));
  write(`models-${name}-nearest`, joinPixels([...firsts, ...below.flat()]), classNames.length);
  const ofSamples = medianDistance(train.pixels, some({ pixels: samples, labels: [] }, MEASURED));
  const held = splits === undefined ? undefined : await imagesOf(images, splits[1], config.inputSize[0], config.inChannels);
  const ofHeld = held === undefined ? '' : `, held-out images ${medianDistance(train.pixels, some(held, MEASURED)).toFixed(1)}`;
  console.log(`${name}: distance to the nearest image of the training, of 255: samples ${ofSamples.toFixed(1)}${ofHeld}`);
}
await runLine(
  `dit-moe-sampler sample emoji --classes flags,smileys,people --count 1 --seed 4 --steps 12 --out runs/models/strip.png --film ${FIGURES}/models-denoising.png`,
);
await runLine('dit-moe-sampler routing fashion --count 16 --steps 25 --out runs/models/routing');
fs.copyFileSync(path.join(root, 'runs/models/routing/position.png'), path.join(root, FIGURES, 'models-experts.png'));
