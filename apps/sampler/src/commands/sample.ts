/** `sample`: images of chosen classes, as one picture and on request as single files. */
import path from 'node:path';
import { contactSheet, joinPixels, pictureAt, zoomTo } from '@dit-moe/data';
import { createProgress, exitCodes, type ProgressState, UsageError } from '@dit-moe/kit';
import { prepareOutput } from '@dit-moe/kit/output';
import {
  type ImageRequest,
  type Pipeline,
  type SampleProgress,
  type SampleSettings,
  type StartPicture,
  strengthOf,
} from '@dit-moe/pipeline';
import { safeFileName } from '@dit-moe/tensor-ops/io';
import { makeFolder, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import type * as tf from '@tensorflow/tfjs-core';
import { modelWithClasses } from '../bundled-models.js';
import { parseClassesOrNone } from '../classes.js';
import { withCaptions } from '../pictures/caption.js';
import { encodeFilm, encodePicture } from '../pictures/encode-picture.js';
import { DenoisingFilm, interpolationFrames, strip } from '../pictures/film.js';
import { pictureFormat } from '../pictures/picture-format.js';
import { readPicture } from '../pictures/read-picture.js';
import { terminalPreview } from '../pictures/terminal-preview.js';
import { readNoise, writeRaw } from '../raw-samples.js';
import { type BackendFlags, type ModelFlags, startPipeline } from '../start-pipeline.js';

export interface SampleFlags extends Partial<SampleSettings>, ModelFlags, BackendFlags {
  seed: number;
  classes?: string;
  count: number;
  batch: number;
  out: string;
  each?: string;
  /** File for the way to the images: of the denoising, or of the interpolation. */
  film?: string;
  /** Class names beside the rows of the sheet. */
  captions: boolean;
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
  const classes = parseClassesOrNone(flags.classes, classNames);
  if (flags.interpolate !== undefined) {
    if (!classes.every((label) => label !== null)) throw new UsageError('--interpolate: no way leads to "none"; expected classes.');
    const rows = Array.from({ length: flags.count }, (_, row) =>
      interpolation(classes, flags.seeds ?? [flags.seed], flags.interpolate!, row),
    );
    return { images: rows.flat(), columns: rows[0].length };
  }
  if (flags.seeds !== undefined) throw new UsageError('--seeds: only with --interpolate; use --seed.');
  const labels = classes.flatMap((label) => Array<number | null>(flags.count).fill(label));
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
const FRAME_MS = 80;

/** What stands beside a row: its class, or the classes or seeds that it leads from and to. */
function rowName([{ label, seed, toward, index }]: readonly ImageRequest[], classNames: readonly string[]): string {
  const name = (of: number | null | undefined): string => (of === null || of === undefined ? 'no class' : classNames[of]);
  if (toward === undefined) return name(label);
  const [from, to] = toward.label === label ? [`seed ${seed}`, `seed ${toward.seed}`] : [name(label), name(toward.label)];
  return `${from} to ${to}, ${index}`;
}

/** Solver steps of all batches, which all take about as many. */
export const samplingState = ({ from, to, images, step, steps }: SampleProgress, batch: number): ProgressState => ({
  ...{ what: 'step', done: Math.floor(from / batch) * steps + step, total: Math.ceil(images / batch) * steps },
  details: [images > batch ? `images ${from + 1} to ${to} of ${images}` : `${images} image${images === 1 ? '' : 's'}`],
});

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
export async function sampleCommand(given: string | undefined, flags: SampleFlags): Promise<number> {
  if (flags.init === undefined && (flags.mask !== undefined || flags.strength !== undefined))
    throw new UsageError('--mask and --strength: they need the picture of --init.');
  const format = pictureFormat('--out', flags.out);
  const filmFormat = flags.film === undefined ? undefined : pictureFormat('--film', flags.film);
  const outputs = [flags.out, flags.film, flags.raw, flags.each === undefined ? undefined : path.join(flags.each, 'any.png')];
  for (const file of outputs) if (file !== undefined) await prepareOutput(file);
  const location = given ?? (await modelWithClasses(flags.classes));
  const progress = createProgress();
  let wanted: ReturnType<typeof requests> | undefined;
  const {
    backend,
    pipeline,
    settings: sampling,
  } = await startPipeline(location, flags, progress, async ({ card }) => {
    wanted = requests(flags, card.classNames);
  });
  const { card } = pipeline;
  const { images, columns } = wanted!;
  const noise = flags.noise === undefined ? undefined : await readNoise(flags.noise, card, images.length);
  const init = flags.init === undefined ? undefined : await startPicture(pipeline, flags.init, flags);
  const started = performance.now();
  progress.phase('preparing the first step');
  const film = flags.film !== undefined && flags.interpolate === undefined ? new DenoisingFilm() : undefined;
  const raw: Float32Array[] = [];
  const run = pipeline.sample({
    ...sampling,
    images,
    batch: noise === undefined ? flags.batch : images.length,
    init,
    noise,
    ...(flags.raw !== undefined && { onSamples: async (x: tf.Tensor) => void raw.push(Float32Array.from(await x.data())) }),
  });
  for await (const state of run) {
    progress.update(samplingState(state, flags.batch));
    await film?.add(state);
  }
  const pixels = await run;
  progress.done();
  noise?.start.dispose();
  pipeline.dispose();
  const seconds = (performance.now() - started) / 1000;
  const settings = {
    model: location,
    step: card.step,
    ...sampling,
    ...(flags.guideWith !== undefined && { guideWith: flags.guideWith }),
    weights: flags.weights ?? 'ema',
    precision: pipeline.model.precision,
    backend: `${backend.name} ${backend.version}`,
    ...(flags.init !== undefined && {
      init: flags.init,
      strength: strengthOf(init!),
      ...(flags.mask !== undefined && { mask: flags.mask }),
    }),
  };
  const notes = (more: object) => ({ Software: 'dit-moe-sampler', Comment: JSON.stringify({ ...settings, ...more }) });
  if (flags.raw !== undefined) await writeRaw(flags.raw, [images.length, card.config.inChannels, ...card.config.inputSize], raw);
  const folders = classFolders(card.classNames);
  const zoom = zoomTo(SHEET_CELL, pixels);
  const sheet = contactSheet(pixels, columns, zoom);
  const names = Array.from({ length: pixels.count / columns }, (_, row) => rowName(images.slice(row * columns), card.classNames));
  const { picture, written } = flags.captions
    ? await withCaptions(sheet, names, (pixels.height + 1) * zoom)
    : { picture: sheet, written: true };
  if (!written) console.error('There are no fonts on this machine: the captions are left out.');
  await writeFileAtomically(flags.out, await encodePicture(picture, format, notes({ images })));
  if (flags.film !== undefined) {
    const frames = film?.frames() ?? interpolationFrames(pixels, columns);
    const enlarged = zoomTo(SHEET_CELL, frames[0]);
    const bytes =
      filmFormat === 'gif' || filmFormat === 'webp'
        ? await encodeFilm(
            joinPixels(frames.map((frame) => contactSheet(frame, film === undefined ? 1 : columns, enlarged))),
            filmFormat,
            notes({ images }),
            FRAME_MS,
          )
        : await encodePicture(contactSheet(strip(frames), frames.length, enlarged), filmFormat!, notes({ images }));
    await writeFileAtomically(flags.film, bytes);
  }
  if (flags.each !== undefined) {
    // A class may be asked for twice.
    const written = new Map<string, number>();
    for (const [i, image] of images.entries()) {
      const folder = path.join(
        flags.each,
        flags.interpolate === undefined ? (image.label === null ? 'no class' : folders[image.label]) : String(image.index).padStart(3, '0'),
      );
      await makeFolder(folder);
      const number = written.get(folder) ?? 0;
      written.set(folder, number + 1);
      const bytes = await encodePicture(pictureAt(pixels, i), 'png', notes(image));
      await writeFileAtomically(path.join(folder, `${String(number).padStart(3, '0')}.png`), bytes);
    }
  }
  if (flags.preview) process.stderr.write(terminalPreview(contactSheet(pixels, columns), process.stderr.columns ?? 80));
  if (flags.json) console.log(JSON.stringify({ ...settings, images: images.length, seconds, out: path.resolve(flags.out) }));
  else
    console.log(
      `${images.length} images in ${seconds.toFixed(1)} s (${backend.name}): ${flags.out}${flags.each === undefined ? '' : `, single files in ${flags.each}`}`,
    );
  return exitCodes.ok;
}
