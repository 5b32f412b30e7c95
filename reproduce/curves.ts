/**
 * The way of the model `emoji` through its two trainings, as a curve of the loss and as pictures: `pnpm models:curves`, after `pnpm models`.
 */
import fs from 'node:fs';
import path from 'node:path';
import { contactSheet, encodePng, joinPixels, type Pixels } from '@dit-moe/data';
import { openImages } from '@dit-moe/data/node';
import { lossOverTrainings } from '../apps/kit/src/charts.js';
import { readMetrics } from '../apps/trainer/src/training/metrics-log.js';
import { root } from './commands.js';
import { WORK } from './recipes.js';

const FIGURES = path.join(root, 'docs/figures');
/** Previews of the second training that are shown, of four. */
const SHOWN = [0, 1, 3];

interface Point {
  step: number;
  loss: number;
}

/** Of the first training of the model that comes along, whose run folder was not kept: lines of its log. */
const KEPT: readonly Point[] = [
  { step: 50, loss: 1.196 },
  { step: 100, loss: 0.456 },
  { step: 200, loss: 0.308 },
  { step: 500, loss: 0.226 },
  { step: 1000, loss: 0.198 },
  { step: 1500, loss: 0.184 },
  { step: 2000, loss: 0.178 },
  { step: 2500, loss: 0.176 },
];

/** White rows between the previews. */
const SPACE = 10;

function withSpaceBelow(picture: Pixels): Pixels {
  const taller = { ...picture, height: picture.height + SPACE };
  const data = new Uint8Array(taller.height * taller.width * taller.channels).fill(255);
  data.set(picture.data);
  return { ...taller, data };
}

const folder = (run: string): string => path.join(root, WORK, run);
const lossesOf = async (run: string): Promise<readonly Point[] | undefined> =>
  fs.existsSync(path.join(folder(run), 'metrics.jsonl'))
    ? (await readMetrics(folder(run))).flatMap(({ step, loss }) => (loss === null ? [] : [{ step, loss }]))
    : undefined;

const first = (await lossesOf('emoji')) ?? KEPT;
const again = (await lossesOf('emoji-again')) ?? [];
const chart = lossOverTrainings([first, again], 'Loss of the model emoji over the steps of its two trainings');
fs.writeFileSync(path.join(FIGURES, 'emoji-loss.svg'), chart);

const sheets = await openImages(path.join(folder('emoji-again'), 'samples'));
const pictures = await Promise.all(SHOWN.map(async (i) => withSpaceBelow(await sheets.picture(i))));
await sheets.close();
fs.writeFileSync(path.join(FIGURES, 'emoji-steps-again.png'), encodePng(contactSheet(joinPixels(pictures), 1, 2)));
