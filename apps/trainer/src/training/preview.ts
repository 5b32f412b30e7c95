/** Samples of a running training with fixed seeds, so that pictures of different steps can be compared. */
import path from 'node:path';
import { contactSheet, encodePng, zoomTo } from '@dit-moe/data';
import type { Pipeline } from '@dit-moe/pipeline';
import { makeFolder, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import type { TrainConfig } from '../config/schema.js';

/** Small pictures are enlarged to about this edge. */
const SHOWN_EDGE = 32;

/** Writes `samples/step-N.png`, a column per class, and returns it; nothing if the signal ends it. */
export async function previewSamples(
  out: string,
  pipeline: Pipeline,
  config: TrainConfig,
  step: number,
  signal?: AbortSignal,
): Promise<{ png: Uint8Array; width: number; height: number }> {
  const { perClass, solver, steps, guidance } = config.sampling;
  const classes = Math.min(config.sampling.classes, pipeline.card.classNames.length);
  const labels = Array.from({ length: classes * perClass }, (_, i) => i % classes);
  const pixels = await pipeline.sample({ labels, seed: config.seed, solver, steps, guidance, signal });
  const sheet = contactSheet(pixels, classes, zoomTo(SHOWN_EDGE, pixels));
  const png = encodePng(sheet);
  await makeFolder(path.join(out, 'samples'));
  await writeFileAtomically(path.join(out, 'samples', `step-${String(step).padStart(8, '0')}.png`), png);
  return { png, width: sheet.width, height: sheet.height };
}
