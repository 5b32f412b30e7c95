/** `sample`: images of chosen classes, as one picture and on request as single files. */
import path from 'node:path';
import { contactSheet, encodePng, type Pixels, pictureAt, zoomTo } from '@dit-moe/data';
import { createProgress, exitCodes, UsageError } from '@dit-moe/kit';
import { type ImageRequest, type Pipeline, type SampleSettings, type StartPicture, strengthOf } from '@dit-moe/pipeline';
import type { OpenPipelineOptions } from '@dit-moe/pipeline/node';
import { safeFileName } from '@dit-moe/tensor-ops/io';
import { makeFolder, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import type * as tf from '@tensorflow/tfjs-core';
import { readPicture } from '../picture-file.js';
import { readNoise, writeRaw } from '../raw-samples.js';
import { type BackendFlags, startPipeline } from '../start-pipeline.js';
import { terminalPreview } from '../terminal-preview.js';

export interface SampleFlags extends Partial<SampleSettings>, OpenPipelineOptions, BackendFlags {
  seed: number;
  classes?: string;
  count: number;
  batch: number;
  out: string;
  each?: string;
  preview: boolean;
  /** Images on the way between neighbouring classes and seeds. */
  interpolate?: number;
  /** Seeds of the ends of the ways; without, all have the settings' seed. */
  seeds?: number[];
  init?: string;
  /** File with the noise to use. */
  noise?: string;
  /** File for the samples in the model's space. */
  raw?: string;
  mask?: string;
  strength?: number;
  json: boolean;
}

/**
 * Labels of `text`, a comma-separated list of class names or numbers; all classes without it. A name goes before a number; a number
 * that is the name of one class and the number of another is refused, `#3` and `=3` say which is meant.
 */
export function parseClasses(text: string | undefined, classNames: readonly string[]): number[] {
  if (text === undefined) return classNames.map((_, label) => label);
  // Names may hold commas themselves: the whole list first.
  const parts = classNames.includes(text.trim()) ? [text] : text.split(',');
  return parts.map((part) => labelOf(part.trim(), classNames));
}

function labelOf(word: string, classNames: readonly string[]): number {
  const named = classNames.indexOf(word);
  const number = /^\d+$/.test(word) && Number(word) < classNames.length ? Number(word) : -1;
  if (named >= 0 && number >= 0 && named !== number)
    throw new UsageError(
      `--classes: "${word}" is the name of class number ${named}, and the number of the class named "${classNames[number]}". Write =${word} for the name or #${word} for the number.`,
    );
  if (named >= 0) return named;
  if (number >= 0) return number;
  const [sign, rest] = [word.slice(0, 1), word.slice(1)];
  if (sign === '=' && classNames.includes(rest)) return classNames.indexOf(rest);
  if (sign === '#' && /^\d+$/.test(rest) && Number(rest) < classNames.length) return Number(rest);
  throw new UsageError(
    `--classes: there is no class "${word}"; expected names or numbers from 0 to ${classNames.length - 1} (${classNames.slice(0, 10).join(', ')}).`,
  );
}

/**
 * Images on the way through (class, seed) pairs: `perWay` on each, and the last pair.
 * @param row number of the noise within each seed
 */
export function interpolation(classes: readonly number[], seeds: readonly number[], perWay: number, row: number): ImageRequest[] {
  const length = Math.max(classes.length, seeds.length);
  if (length < 2) throw new UsageError('--interpolate: expected at least two --classes or two --seeds to go between.');
  if ([classes, seeds].some((list) => list.length !== 1 && list.length !== length))
    throw new UsageError(
      `--interpolate: ${classes.length} classes and ${seeds.length} seeds do not go together; give one, or as many of both.`,
    );
  const at = (list: readonly number[], i: number): number => list[Math.min(i, list.length - 1)];
  const images: ImageRequest[] = [];
  for (let way = 0; way + 1 < length; way++)
    for (let i = 0; i < perWay; i++)
      images.push({
        label: at(classes, way),
        seed: at(seeds, way),
        index: row,
        toward: { label: at(classes, way + 1), seed: at(seeds, way + 1), share: i / perWay },
      });
  return [...images, { label: at(classes, length - 1), seed: at(seeds, length - 1), index: row }];
}

/** What is to be drawn, row by row. */
function requests(flags: SampleFlags, classNames: readonly string[]): { images: ImageRequest[]; columns: number } {
  const classes = parseClasses(flags.classes, classNames);
  if (flags.interpolate !== undefined) {
    const rows = Array.from({ length: flags.count }, (_, row) =>
      interpolation(classes, flags.seeds ?? [flags.seed], flags.interpolate!, row),
    );
    return { images: rows.flat(), columns: rows[0].length };
  }
  if (flags.seeds !== undefined) throw new UsageError('--seeds: only with --interpolate; use --seed.');
  const labels = classes.flatMap((label) => Array<number>(flags.count).fill(label));
  return { images: labels.map((label, index) => ({ label, index })), columns: flags.count };
}

/** A folder name for each class; classes of one name, such as ImageNet's two cranes, are told apart by their numbers. */
export function classFolders(classNames: readonly string[]): string[] {
  const uses = new Map<string, number>();
  for (const name of classNames) uses.set(name, (uses.get(name) ?? 0) + 1);
  return classNames.map((name, label) => safeFileName(uses.get(name) === 1 ? name : `${label} ${name}`));
}

/** Edge in pixels up to which small images are enlarged in the sheet. */
const SHEET_CELL = 32;

/** The picture of `--init` with `--mask` and `--strength`, in the model's size. */
async function startPicture(
  { card, space }: Pipeline,
  init: string,
  { mask, strength }: Pick<SampleFlags, 'mask' | 'strength'>,
): Promise<StartPicture> {
  const [height, width] = card.config.inputSize;
  if (height !== width) throw new UsageError('--init: only for models of square pictures.');
  const read = (option: string, file: string) => readPicture(option, file, height * space.scale);
  return { picture: await read('--init', init), strength, ...(mask !== undefined && { mask: await read('--mask', mask) }) };
}

/** Runs `sample` and returns the exit code. */
export async function sampleCommand(location: string, flags: SampleFlags): Promise<number> {
  if (flags.init === undefined && (flags.mask !== undefined || flags.strength !== undefined))
    throw new UsageError('--mask and --strength: they need the picture of --init.');
  const { backend, pipeline, settings: sampling } = await startPipeline(location, flags);
  const { card } = pipeline;
  const { images, columns } = requests(flags, card.classNames);
  const noise = flags.noise === undefined ? undefined : await readNoise(flags.noise, card, images.length);
  const init = flags.init === undefined ? undefined : await startPicture(pipeline, flags.init, flags);
  const started = performance.now();
  const progress = createProgress();
  progress.update({ what: 'image', done: 0, total: images.length });
  const raw: Float32Array[] = [];
  const run = pipeline.sample({
    ...sampling,
    images,
    batch: noise === undefined ? flags.batch : images.length,
    init,
    noise,
    ...(flags.raw !== undefined && { onSamples: async (x: tf.Tensor) => void raw.push(Float32Array.from(await x.data())) }),
  });
  for await (const { step, steps, to } of run) if (step === steps) progress.update({ what: 'image', done: to, total: images.length });
  const pixels = await run;
  progress.done();
  noise?.start.dispose();
  pipeline.dispose();
  const seconds = (performance.now() - started) / 1000;
  const settings = {
    model: location,
    step: card.step,
    ...sampling,
    weights: flags.weights ?? 'ema',
    precision: flags.precision,
    backend: `${backend.name} ${backend.version}`,
    ...(flags.init !== undefined && {
      init: flags.init,
      strength: strengthOf(init!),
      ...(flags.mask !== undefined && { mask: flags.mask }),
    }),
  };
  const write = async (target: string, picture: Pixels, more: object) => {
    await makeFolder(path.dirname(target));
    const text = { Software: 'dit-moe-sampler', Comment: JSON.stringify({ ...settings, ...more }) };
    await writeFileAtomically(target, encodePng(picture, text));
  };
  if (flags.raw !== undefined) await writeRaw(flags.raw, [images.length, card.config.inChannels, ...card.config.inputSize], raw);
  const folders = classFolders(card.classNames);
  const sheet = contactSheet(pixels, columns, zoomTo(SHEET_CELL, pixels));
  await write(flags.out, sheet, { images });
  if (flags.each !== undefined) {
    for (const [i, image] of images.entries())
      await write(
        flags.interpolate === undefined
          ? path.join(flags.each, folders[image.label!], `${String(i % columns).padStart(3, '0')}.png`)
          : path.join(flags.each, String(image.index).padStart(3, '0'), `${String(i % columns).padStart(3, '0')}.png`),
        pictureAt(pixels, i),
        image,
      );
  }
  if (flags.preview) process.stderr.write(terminalPreview(contactSheet(pixels, columns), process.stderr.columns ?? 80));
  if (flags.json) console.log(JSON.stringify({ ...settings, images: images.length, seconds, out: path.resolve(flags.out) }));
  else
    console.log(
      `${images.length} images in ${seconds.toFixed(1)} s (${backend.name}): ${flags.out}${flags.each === undefined ? '' : `, single files in ${flags.each}`}`,
    );
  return exitCodes.ok;
}
