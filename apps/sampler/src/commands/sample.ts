/** `sample`: images of chosen classes, as one picture and on request as single files. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { contactSheet, type Pixels, pictureAt } from '@dit-moe/diffusion';
import { writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import { type BackendName, startBackend } from '@dit-moe/tensor-ops/node';
import { encode } from 'fast-png';
import { OutputError, UsageError } from '../errors.js';
import { findModel, openModel, type WeightChoice } from '../model.js';
import { type SampleSettings, sampleImages } from '../sample.js';

export interface SampleFlags extends SampleSettings {
  classes?: string;
  count: number;
  batch: number;
  weights: WeightChoice;
  precision: 'f32' | 'bf16';
  out: string;
  each?: string;
  backend: BackendName;
  threads?: number;
  json: boolean;
}

/** Labels of `text`, a comma-separated list of class names or numbers; all classes without it. */
export function parseClasses(text: string | undefined, classNames: readonly string[]): number[] {
  if (text === undefined) return classNames.map((_, label) => label);
  return text.split(',').map((part) => {
    const name = part.trim();
    const label = classNames.includes(name) ? classNames.indexOf(name) : Number(name === '' ? Number.NaN : name);
    if (!Number.isInteger(label) || label < 0 || label >= classNames.length)
      throw new UsageError(
        `--classes: there is no class "${name}"; expected names or numbers from 0 to ${classNames.length - 1} (${classNames.slice(0, 10).join(', ')}).`,
      );
    return label;
  });
}

/** Edge in pixels up to which small images are enlarged in the sheet. */
const SHEET_CELL = 32;

/** Runs `sample` and returns the exit code. */
export async function sampleCommand(location: string, flags: SampleFlags): Promise<number> {
  const file = await findModel(location, flags.weights);
  const backend = await startBackend(flags.backend, flags.threads, (message) => console.error(message));
  const model = await openModel(file, flags.precision);
  const classes = parseClasses(flags.classes, model.card.classNames);
  const labels = classes.flatMap((label) => Array<number>(flags.count).fill(label));
  const started = performance.now();
  const pixels = await sampleImages(
    model,
    labels.map((label, index) => ({ label, index })),
    flags,
    {
      batch: flags.batch,
      onImages: (done) => process.stderr.write(process.stderr.isTTY ? `\r${done}/${labels.length} images` : ''),
    },
  );
  if (process.stderr.isTTY) process.stderr.write('\n');
  model.dispose();
  const seconds = (performance.now() - started) / 1000;
  const { solver, steps, guidance, interval, seed } = flags;
  const settings = {
    model: file,
    step: model.card.step,
    solver,
    steps,
    guidance,
    ...(interval && { interval }),
    seed,
    weights: flags.weights,
  };
  const text = { Software: 'dit-moe-sampler', Comment: JSON.stringify(settings) };
  const write = async (target: string, picture: Pixels, more: object = {}) => {
    try {
      await fs.mkdir(path.dirname(target), { recursive: true });
      const { data, width, height, channels } = picture;
      const comment = { ...text, Comment: JSON.stringify({ ...settings, ...more }) };
      await writeFileAtomically(target, encode({ data, width, height, channels, depth: 8, text: comment }));
    } catch (cause) {
      throw new OutputError(`Cannot write ${target}: ${(cause as Error).message}`, { cause });
    }
  };
  await write(flags.out, contactSheet(pixels, flags.count, Math.max(1, Math.floor(SHEET_CELL / pixels.width))), { labels });
  if (flags.each !== undefined) {
    for (const [i, label] of labels.entries())
      await write(
        path.join(flags.each, model.card.classNames[label]!, `${String(i % flags.count).padStart(3, '0')}.png`),
        pictureAt(pixels, i),
        { label, index: i },
      );
  }
  if (flags.json)
    console.log(JSON.stringify({ ...settings, images: labels.length, seconds, out: path.resolve(flags.out), backend: backend.name }));
  else
    console.log(
      `${labels.length} images in ${seconds.toFixed(1)} s (${backend.name}): ${flags.out}${flags.each === undefined ? '' : `, single files in ${flags.each}`}`,
    );
  return 0;
}
