/** For tests: six 4 x 4 images in two classes, and runs of a model of a few hundred weights on them. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { encode } from 'fast-png';
import { resolveConfig } from '../config/resolve.js';
import type { TrainConfig } from '../config/schema.js';
import { type TrainOptions, train } from '../training/train.js';

export function writeImages(folder: string, perClass = 3): void {
  for (const [c, name] of ['dark', 'light'].entries()) {
    fs.mkdirSync(path.join(folder, name), { recursive: true });
    for (let i = 0; i < perClass; i++) {
      const data = Uint8Array.from({ length: 16 }, (_, p) => c * 150 + ((p * 7 + i * 31) % 100));
      fs.writeFileSync(path.join(folder, name, `${i}.png`), encode({ data, width: 4, height: 4, channels: 1, depth: 8 }));
    }
  }
}

/** A folder for tests with images in it; delete it afterwards. */
export function makeRoot(): { root: string; images: string; newRun(): string } {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'trainer-'));
  const images = path.join(root, 'images');
  writeImages(images);
  let runs = 0;
  return { root, images, newRun: () => path.join(root, `run-${runs++}`) };
}

export const tinyOverrides = [
  'model={patchSize: 2, hiddenSize: 8, depth: 1, numHeads: 2, moe: {numExperts: 3, topK: 2, expertRatio: 1, sharedRatio: 1}}',
  'data.channels=1',
  'batchSize=4',
  'steps=4',
  'logEvery=1',
  'sampling={every: 100, steps: 2}',
  'checkpoints.every=2',
  'ema=[0.5]',
];

export const tinyConfig = (images: string, ...overrides: string[]): TrainConfig =>
  resolveConfig({ data: images, overrides: [...tinyOverrides, ...overrides] });

/** Trains to the end, frees the state, and collects what was logged. */
export async function runTiny(config: TrainConfig, out: string, options: Partial<TrainOptions> = {}) {
  const messages: string[] = [];
  const progress = { phase() {}, update() {}, log: (message: string) => void messages.push(message), done() {} };
  const result = await train(config, { out, resume: false, progress, signal: new AbortController().signal, ...options });
  result.state.dispose();
  return { ...result, messages };
}

export const checkpointFolder = (out: string, step: number) => path.join(out, 'checkpoints', `step-${String(step).padStart(8, '0')}`);
export const checkpointBytes = (out: string, step: number, file: string) =>
  fs.readFileSync(path.join(checkpointFolder(out, step), `${file}.safetensors`));
export const metricsLines = (out: string) =>
  fs
    .readFileSync(path.join(out, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
/** The part of the metrics that does not depend on the clock. */
export const curveOf = (out: string) =>
  metricsLines(out).map(({ step, loss, gradNorm, routing, skipped }) => ({ step, loss, gradNorm, routing, skipped }));
