/**
 * The run on 200 images of 64 pixels that docs/start/your-images.md shows: `pnpm models:own`. What was made before is not made again.
 *
 * Draws previews on the way, and samples above the images that are most like them; prints the losses and the distances.
 */
import fs from 'node:fs';
import path from 'node:path';
import { contactSheet, encodePng, flipped, joinPixels, type Pixels, pictureAt } from '@dit-moe/data';
import { openImages } from '@dit-moe/data/node';
import { openPipeline } from '@dit-moe/pipeline/node';
import { readMetrics } from '../apps/trainer/src/training/metrics-log.js';
import { root, runCommands, runProgram } from './commands.js';
import { imagesOf, median, NEIGHBOURS, nearest } from './nearest.js';
import { recipes, WORK } from './recipes.js';

const EMOJI = recipes['emoji'].images;
const PHOTOS = `${WORK}/photos-images`;
const RUN = `${WORK}/photos`;
const CLASSES = ['animals', 'flags', 'food', 'smileys'];
const PER_CLASS = 50;
/** Steps whose previews are shown and whose losses are printed. */
const PREVIEWS = [250, 750, 2000];
const LOSSES = [50, 100, 250, 500, 1000, 1500, 2000];
/** Samples of each class, of which some are shown. */
const [SAMPLES, SHOWN] = [12, 2];

const at = (...parts: string[]): string => path.join(root, ...parts);
const write = (name: string, sheet: Pixels): void => fs.writeFileSync(at('docs/figures', `${name}.png`), encodePng(sheet));

/** Some images of some classes, in folders, as people have them; evenly from each, as neighbours by name are alike. */
function copyPhotos(): void {
  for (const name of CLASSES) {
    fs.mkdirSync(at(PHOTOS, name), { recursive: true });
    const from = at(EMOJI, 'train', name);
    const files = fs.readdirSync(from).sort();
    for (let i = 0; i < PER_CLASS; i++) {
      const file = files[Math.floor((i * files.length) / PER_CLASS)];
      fs.copyFileSync(path.join(from, file), at(PHOTOS, name, file));
    }
  }
}

async function drawPreviews(): Promise<void> {
  const sheets = await openImages(at(RUN, 'samples'));
  const pictures: Pixels[] = [];
  for (let i = 0; i < sheets.count; i++)
    if (PREVIEWS.includes(Number(/\d+/.exec(sheets.key(i))![0]))) pictures.push(await sheets.picture(i));
  await sheets.close();
  write('own-images-steps', contactSheet(joinPixels(pictures.map(withMargin)), pictures.length));
}

/** White columns behind a preview. */
function withMargin(picture: Pixels): Pixels {
  const { height, width, channels } = picture;
  const wider = { ...picture, width: width + 10 };
  const data = new Uint8Array(height * wider.width * channels).fill(255);
  for (let y = 0; y < height; y++)
    data.set(picture.data.subarray(y * width * channels, (y + 1) * width * channels), y * wider.width * channels);
  return { ...wider, data };
}

async function printLosses(): Promise<void> {
  const lines = (await readMetrics(at(RUN))).filter(({ step }) => LOSSES.includes(step));
  for (const { step, loss, validation } of lines)
    console.log(`step ${step}: loss ${loss.toFixed(3)}, held out ${validation?.loss.toFixed(3) ?? '-'}`);
}

/** Samples, below them the images of the set, mirrored or not, that are most like them. */
async function drawNearest(): Promise<void> {
  const pipeline = await openPipeline(at(RUN));
  const { inputSize, inChannels } = pipeline.card.config;
  const samples = await pipeline.sample({ labels: CLASSES.flatMap((_, label) => Array<number>(SAMPLES).fill(label)), seed: 1, steps: 25 });
  pipeline.dispose();
  const { pixels } = await imagesOf(PHOTOS, undefined, inputSize[0], inChannels);
  const set = joinPixels([pixels, flipped(pixels)]);
  const all = Array.from({ length: samples.count }, (_, i) => nearest(set, pictureAt(samples, i).data));
  const shown = CLASSES.flatMap((_, label) => Array.from({ length: SHOWN }, (_, i) => label * SAMPLES + i));
  const rows = Array.from({ length: NEIGHBOURS }, (_, n) => shown.map((i) => pictureAt(set, all[i].indices[n])));
  write('own-images-nearest', contactSheet(joinPixels([...shown.map((i) => pictureAt(samples, i)), ...rows.flat()]), shown.length));
  // Of an image, the nearest of the others is wanted.
  const real = Array.from({ length: pixels.count }, (_, i) => {
    const others = Array.from({ length: pixels.count }, (_, k) => k).filter((k) => k !== i);
    const rest = joinPixels(others.map((k) => pictureAt(pixels, k)));
    return nearest(joinPixels([rest, flipped(rest)]), pictureAt(pixels, i).data).distance;
  });
  const distances = all.map(({ distance }) => distance);
  const usual = median(real);
  const near = distances.filter((distance) => distance < usual / 2).length;
  console.log(`distance to the nearest image, of 255: samples ${median(distances).toFixed(1)}, images to others ${usual.toFixed(1)}`);
  console.log(`${near} of ${distances.length} samples are less than half as far from an image as images are from each other`);
}

await runProgram(async () => {
  fs.mkdirSync(at(WORK), { recursive: true });
  await runCommands([{ line: `dit-moe-trainer dataset emoji ${EMOJI}`, makes: EMOJI }]);
  copyPhotos();
  await runCommands([
    { line: `dit-moe-trainer train --preset images-64-small --data ${PHOTOS} --out ${RUN}`, makes: `${RUN}/report.html` },
  ]);
  await printLosses();
  await drawPreviews();
  await drawNearest();
});
