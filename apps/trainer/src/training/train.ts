/** A training run from start, or from its last checkpoint, to its end or to a signal. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { contactSheet } from '@dit-moe/diffusion';
import type { ModelCard } from '@dit-moe/dit';
import { writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import { encode } from 'fast-png';
import { learningRateAt, modelConfig, type TrainConfig } from '../config.js';
import { loadImageFolder } from '../data/image-folder.js';
import { CheckpointError, OutputError, outputError, TrainerError } from '../errors.js';
import { writeReport } from '../report/report.js';
import { lockRun } from '../run/lock.js';
import type { Progress } from '../run/progress.js';
import { makeBatch } from './batches.js';
import { restoreLatest, saveCheckpoint, sweepTemporaries } from './checkpoints.js';
import { samplePixels } from './sample.js';
import { type StepReport, TrainingState } from './state.js';

/** One line of `metrics.jsonl`. */
export interface MetricsLine extends StepReport {
  step: number;
  learningRate: number;
  imagesPerSecond: number;
  /** Resident memory of the process in MiB. */
  memory: number;
}

export interface TrainOptions {
  /** Run folder. */
  out: string;
  /** Go on from the last checkpoint. */
  resume: boolean;
  progress: Progress;
  /** Ends the run after the current step, with a checkpoint. */
  signal: AbortSignal;
}

/** What a run comes back with. */
export interface TrainResult {
  step: number;
  loss: number;
  interrupted: boolean;
  state: TrainingState;
  card: ModelCard;
}

/** Steps in a row with a loss or gradient that is not finite, after which a run stops. */
const MAX_BAD_STEPS = 10;

/**
 * Trains; the caller disposes the returned state.
 * @throws TrainerError subclasses, each with its exit code
 */
export async function train(config: TrainConfig, options: TrainOptions): Promise<TrainResult> {
  const { out, resume, progress, signal } = options;
  const data = await loadImageFolder(config.data.folder, {
    channels: config.data.channels,
    ...(config.data.size && { size: config.data.size }),
  });
  for (const { file, reason } of data.skipped.slice(0, 10)) progress.log(`skipped ${file}: ${reason}`);
  if (data.skipped.length > 0) progress.log(`${data.skipped.length} unreadable images were skipped.`);
  const model = modelConfig(config, data);
  try {
    await fs.mkdir(out, { recursive: true });
  } catch (error) {
    throw outputError(error, out);
  }
  const unlock = await lockRun(out);
  try {
    await prepare(out, config, resume);
    await sweepTemporaries(out);
    const state = new TrainingState(model, config);
    const card: ModelCard = {
      config: model,
      objective: 'flow',
      timeScale: config.objective.timeScale,
      classNames: data.classNames,
      step: 0,
    };
    const metricsFile = path.join(out, 'metrics.jsonl');
    let metrics: MetricsLine[] = [];
    if (resume) {
      const manifest = await restoreLatest(out, state, (message) => progress.log(message));
      if (manifest !== undefined && manifest.data !== data.fingerprint)
        throw new CheckpointError('The images have changed since the checkpoint was made. Restore them, or start anew in another folder.');
      card.step = manifest?.step ?? 0;
      const text = await fs.readFile(metricsFile, 'utf8').catch(() => '');
      metrics = text
        .split('\n')
        .flatMap((line) => parseLine(line))
        .filter((line) => line.step <= card.step);
      progress.log(card.step > 0 ? `resumed at step ${card.step}` : 'nothing to resume: starting at step 0');
    }
    await writeFileAtomically(metricsFile, metrics.map((line) => `${JSON.stringify(line)}\n`).join(''));

    const micro = config.batchSize / config.accumulation;
    const batchOptions = { seed: config.seed, labelDropout: config.labelDropout, flip: config.data.flip };
    const save = () => saveCheckpoint(out, state, card, { data: data.fingerprint, keep: config.keepCheckpoints });
    let [loss, bad, images, since] = [metrics.at(-1)?.loss ?? Number.NaN, 0, 0, performance.now()];
    let saved = card.step;
    while (card.step < config.steps && !signal.aborted) {
      const first = card.step * config.batchSize;
      const batches = function* () {
        for (let m = 0; m < config.accumulation; m++) yield makeBatch(data, first + m * micro, micro, batchOptions);
      };
      const learningRate = learningRateAt(config, card.step);
      const { applied, ...report } = await state.step(batches(), learningRate);
      card.step++;
      images += config.batchSize;
      bad = applied ? 0 : bad + 1;
      if (!applied) progress.log(`step ${card.step}: the loss or gradient is not finite; the step was skipped (${bad} in a row).`);
      if (bad >= MAX_BAD_STEPS) {
        throw new CheckpointError(
          `${bad} steps in a row gave no finite gradient. The checkpoints are untouched; resume with a lower learning rate.`,
        );
      }
      if (applied) loss = report.loss;
      const last = card.step === config.steps;
      if (card.step % config.logEvery === 0 || last) {
        const imagesPerSecond = (images * 1000) / (performance.now() - since);
        [images, since] = [0, performance.now()];
        const line: MetricsLine = {
          step: card.step,
          ...report,
          learningRate,
          imagesPerSecond,
          memory: Math.round(process.memoryUsage.rss() / 2 ** 20),
        };
        metrics.push(line);
        await fs.appendFile(metricsFile, `${JSON.stringify(line)}\n`);
        progress.update({ step: card.step, steps: config.steps, loss: report.loss, imagesPerSecond });
      }
      if (card.step % config.sampleEvery === 0 || last) await preview(out, state, config, card);
      if (card.step % config.checkpointEvery === 0 || last) {
        await save();
        saved = card.step;
        await writeReport(out, config, card, metrics);
      }
    }
    if (saved !== card.step) {
      await save();
      await writeReport(out, config, card, metrics);
    }
    progress.done();
    return { step: card.step, loss, interrupted: card.step < config.steps, state, card };
  } catch (error) {
    throw error instanceof TrainerError ? error : outputError(error, out);
  } finally {
    await unlock();
  }
}

function parseLine(line: string): MetricsLine[] {
  try {
    return [JSON.parse(line) as MetricsLine];
  } catch {
    // The line that a killed process was writing.
    return [];
  }
}

/** Refuses a folder that holds another run, and keeps the configuration. */
async function prepare(out: string, config: TrainConfig, resume: boolean): Promise<void> {
  const file = path.join(out, 'config.json');
  const text = `${JSON.stringify(config, null, 2)}\n`;
  const before = await fs.readFile(file, 'utf8').catch(() => undefined);
  if (before !== undefined && !resume) throw new OutputError(`${out} holds a run already. Go on with --resume, or choose another --out.`);
  if (before !== undefined) {
    const { model, objective, batchSize } = JSON.parse(before) as TrainConfig;
    if (
      JSON.stringify({ model, objective, batchSize }) !==
      JSON.stringify({ model: config.model, objective: config.objective, batchSize: config.batchSize })
    )
      throw new CheckpointError(`The model, objective or batch size differs from ${file}. Resume with the same, or choose another --out.`);
  }
  await writeFileAtomically(file, text);
}

/** Four samples of each of the first classes with fixed seeds, so that pictures of different steps can be compared. */
async function preview(out: string, state: TrainingState, config: TrainConfig, card: ModelCard): Promise<void> {
  const classes = Math.min(10, card.classNames.length);
  const labels = Array.from({ length: classes * 4 }, (_, i) => i % classes);
  const pixels = await samplePixels(state.ema.averages, card.config, {
    labels,
    seed: config.seed,
    timeScale: card.timeScale,
    ...config.sampling,
  });
  const { data, width, height, channels } = contactSheet(pixels, classes, Math.max(1, Math.floor(32 / pixels.width)));
  await fs.mkdir(path.join(out, 'samples'), { recursive: true });
  const file = path.join(out, 'samples', `step-${String(card.step).padStart(8, '0')}.png`);
  await writeFileAtomically(file, encode({ data, width, height, channels, depth: 8 }));
}
