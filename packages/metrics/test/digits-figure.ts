/** Draws docs/figures/metrics-digits.png and prints its numbers: how the Frechet distance answers to noise, blur and class imbalance. */
import { fileURLToPath } from 'node:url';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import sharp from 'sharp';
import { frechetDistanceOf } from '../src/index.js';
import {
  expectedDistance,
  featuresOf,
  halves,
  imbalanced,
  readDigits,
  SIDE,
  select,
  trainClassifier,
  withBlur,
  withNoise,
} from './digits-study.js';

await useTensorFlow();
const digits = await readDigits();
const classifier = trainClassifier(digits);
const features = (pixels: Uint8Array) => featuresOf(classifier, pixels);
/** Splits of the images over which distances are averaged. */
const SPLITS = 10;
const splits = Array.from({ length: SPLITS }, (_, seed) => halves(digits, seed));
const references = await Promise.all(splits.map(([first]) => features(select(digits, first))));
const [, second] = splits[0];

/** Mean distance from one half to what is made of the other. */
async function meanDistance(change: (rows: Int32Array) => Uint8Array): Promise<number> {
  let sum = 0;
  for (const [i, [, other]] of splits.entries()) sum += frechetDistanceOf(await features(change(other)), references[i]).distance;
  return sum / SPLITS;
}
const mean = await meanDistance((rows) => select(digits, rows));
const expected = expectedDistance(await features(digits.pixels), second.length, 20);
console.log(`classifier: ${(100 * classifier.accuracy).toFixed(1)} % right`);
console.log(`halves of ${second.length} real images: mean of ${SPLITS} ${mean.toFixed(4)}, expected ${expected.toFixed(4)}`);

interface Curve {
  title: string;
  axis: string;
  levels: number[];
  pixels: (level: number, rows: Int32Array) => Uint8Array;
  distances: number[];
}
const curves: Curve[] = [
  {
    ...{ title: 'noise', axis: 'deviation, grey levels', levels: [0, 10, 20, 30, 40, 60, 80, 100] },
    ...{ pixels: (level, rows) => withNoise(select(digits, rows), level), distances: [] },
  },
  {
    ...{ title: 'blur', axis: 'deviation, pixels', levels: [0, 0.4, 0.5, 0.6, 0.8, 1, 1.3] },
    ...{ pixels: (level, rows) => withBlur(select(digits, rows), level), distances: [] },
  },
  {
    ...{ title: 'class imbalance', axis: 'share of digits 0 to 4', levels: [0.5, 0.6, 0.7, 0.8, 0.9, 1] },
    ...{ pixels: (level, rows) => select(digits, imbalanced(digits, rows, level)), distances: [] },
  },
];
for (const { title, levels, pixels, distances } of curves) {
  for (const level of levels) distances.push(await meanDistance((rows) => pixels(level, rows)));
  console.log(`${title}: ${levels.map((level, i) => `${level} ${distances[i].toFixed(3)}`).join(', ')}`);
}

const [WIDTH, HEIGHT, MARGIN, PANEL, PICTURE] = [960, 340, 56, 250, 28];
const top = Math.max(...curves.flatMap(({ distances }) => distances));
/** Square root, so that small distances are seen beside large ones. */
const y = (distance: number): number => 240 - 190 * Math.sqrt(distance / top);
const text = (x: number, at: number, content: string, anchor = 'middle', size = 13): string =>
  `<text x="${x}" y="${at}" text-anchor="${anchor}" font-size="${size}">${content}</text>`;

/** The first image, enlarged, as squares. */
function picture(pixels: Uint8Array, x: number, at: number): string {
  const dot = PICTURE / SIDE;
  return Array.from({ length: SIDE * SIDE }, (_, i) => {
    const grey = pixels[i];
    const [column, row] = [x + (i % SIDE) * dot, at + Math.floor(i / SIDE) * dot];
    return `<rect x="${column}" y="${row}" width="${dot + 0.2}" height="${dot + 0.2}" fill="rgb(${grey},${grey},${grey})"/>`;
  }).join('');
}

const panels = curves.map(({ title, axis, levels, pixels, distances }, n) => {
  const left = MARGIN + n * (PANEL + 50);
  const [low, high] = [levels[0], levels.at(-1)!];
  const x = (level: number): number => left + (PANEL * (level - low)) / (high - low);
  const points = levels.map((level, i) => [x(level), y(distances[i])] as const);
  const ticks = [0, 0.01, 0.03, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50].filter((value) => value <= top);
  const spaced = ticks.filter((value, i) => i === 0 || ticks.slice(0, i).every((other) => y(other) - y(value) > 14));
  return [
    text(left + PANEL / 2, 30, title, 'middle', 15),
    `<path d="M${left},50V240H${left + PANEL}" fill="none" stroke="#444"/>`,
    ...spaced.map(
      (value) => `<path d="M${left - 4},${y(value)}h4" stroke="#444"/>${text(left - 7, y(value) + 4, String(value), 'end', 11)}`,
    ),
    `<path d="M${left},${y(expected)}h${PANEL}" stroke="#c33" stroke-dasharray="5 4"/>`,
    `<polyline points="${points.map((point) => point.join()).join(' ')}" fill="none" stroke="#26a" stroke-width="2"/>`,
    ...points.map(([px, py]) => `<circle cx="${px}" cy="${py}" r="3.5" fill="#26a"/>`),
    ...[low, (low + high) / 2, high].map((level) => text(x(level), 256, String(Math.round(100 * level) / 100), 'middle', 11)),
    text(left + PANEL / 2, 274, axis, 'middle', 12),
    ...(n === 2 ? [] : [low, (low + high) / 2, high].map((level) => picture(pixels(level, second), x(level) - PICTURE / 2, 284))),
  ].join('');
});
const legend =
  `<path d="M${MARGIN + 2 * (PANEL + 50)},300h26" stroke="#c33" stroke-dasharray="5 4"/>` +
  text(MARGIN + 2 * (PANEL + 50) + 32, 304, 'expected of halves of the real images', 'start', 12);
const title = `<g transform="rotate(-90 14 150)">${text(14, 150, 'Frechet distance (square-root scale)', 'middle', 12)}</g>`;
const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" font-family="sans-serif"><rect width="100%" height="100%" fill="white"/>${title}${panels.join('')}${legend}</svg>`;
await sharp(Buffer.from(svg), { density: 96 })
  .png({ palette: true })
  .toFile(fileURLToPath(new URL('../../../docs/figures/metrics-digits.png', import.meta.url)));
process.exit(0);
