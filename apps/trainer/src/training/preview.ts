/** Samples of a running training with fixed seeds, so that pictures of different steps can be compared. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { contactSheet, encodePng, zoomTo } from '@dit-moe/data';
import type { ModelCard } from '@dit-moe/dit';
import type { Parameter } from '@dit-moe/tensor-ops';
import { writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import type { TrainConfig } from '../config/schema.js';
import type { Decoder } from './decoder.js';
import { sampleImages } from './sample.js';

/** Small pictures are enlarged to about this edge. */
const SHOWN_EDGE = 32;

/** Writes `samples/step-N.png`, a column per class, and returns it; nothing if the signal ends it. */
export async function previewSamples(
  out: string,
  weights: Readonly<Record<string, Parameter>>,
  config: TrainConfig,
  card: ModelCard,
  decoder: Decoder,
  signal?: AbortSignal,
): Promise<{ png: Uint8Array; width: number; height: number }> {
  const { perClass, steps, guidance } = config.sampling;
  const classes = Math.min(config.sampling.classes, card.classNames.length);
  const labels = Array.from({ length: classes * perClass }, (_, i) => i % classes);
  const { seed, precision } = config;
  const pixels = await sampleImages(weights, card, decoder, { labels, seed, steps, guidance, precision, signal });
  const sheet = contactSheet(pixels, classes, zoomTo(SHOWN_EDGE, pixels));
  const png = encodePng(sheet);
  await fs.mkdir(path.join(out, 'samples'), { recursive: true });
  await writeFileAtomically(path.join(out, 'samples', `step-${String(card.step).padStart(8, '0')}.png`), png);
  return { png, width: sheet.width, height: sheet.height };
}
