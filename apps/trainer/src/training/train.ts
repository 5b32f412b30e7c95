/** A training run from start, or from its last checkpoint, to its end or to a signal. */
import path from 'node:path';
import type { ModelCard } from '@dit-moe/dit';
import { writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import { learningRateAt } from '../config/learning-rate.js';
import { modelConfig, objectiveOptions } from '../config/resolve.js';
import type { TrainConfig } from '../config/schema.js';
import { openData } from '../data/open.js';
import type { DataSource } from '../data/source.js';
import { CheckpointError, DivergedError, OutputError, outputError, TrainerError } from '../errors.js';
import { writeReport } from '../report/report.js';
import type { Progress } from '../run/progress.js';
import { openRunFolder } from '../run/run-folder.js';
import { BatchMaker, type HostBatch, upload } from './batches.js';
import { CheckpointWriter, listCheckpoints, restoreLatest, sweepTemporaries } from './checkpoints.js';
import { type Decoder, openDecoder } from './decoder.js';
import { type Evaluator, openEvaluator } from './evaluation.js';
import { weightHistograms } from './histograms.js';
import { loadInitialWeights } from './initial-weights.js';
import { MetricsLog } from './metrics-log.js';
import { Prefetch } from './prefetch.js';
import { previewSamples } from './preview.js';
import { layerRouting, ROUTING_FILE, type RoutingFile } from './routing.js';
import { countStep, emptyWindow, newRecord, type RunRecord, spikeLimit } from './run-record.js';
import { TrainingState } from './state.js';
import { Teacher } from './teacher.js';

export interface TrainOptions {
  /** Run folder. */
  out: string;
  /** Go on from the last checkpoint. */
  resume: boolean;
  /** Go on although the data is not that of the checkpoint; the order starts anew with the next epoch. */
  acceptDataChange?: boolean;
  progress: Progress;
  /** Ends the run after the current step, with a checkpoint. */
  signal: AbortSignal;
  /** Called after each step with everything that came with it, and awaited; receives the number of steps taken. */
  onStep?: (step: number) => void | Promise<void>;
}

/** What a run comes back with. */
export interface TrainResult {
  step: number;
  /** That of the last line of metrics: the mean over its steps. Before the first line, that of the last step. */
  loss: number;
  interrupted: boolean;
  state: TrainingState;
  card: ModelCard;
}

/**
 * Trains; the caller disposes the returned state.
 * @throws TrainerError subclasses, each with its exit code
 */
export async function train(config: TrainConfig, options: TrainOptions): Promise<TrainResult> {
  const { out, progress } = options;
  const source = await openData(config);
  try {
    reportSkipped(source, progress);
    const unlock = await openRunFolder(out, config, options.resume);
    try {
      return await new Run(config, options, source).go();
    } catch (error) {
      throw error instanceof TrainerError ? error : outputError(error, out);
    } finally {
      await unlock();
    }
  } finally {
    await source.close();
  }
}

function reportSkipped({ skipped }: DataSource, progress: Progress): void {
  for (const { reason } of skipped.slice(0, 10)) progress.log(`skipped ${reason}`);
  if (skipped.length > 0) progress.log(`${skipped.length} unreadable images were skipped.`);
}

class Run {
  private readonly card: ModelCard;
  private readonly batches: BatchMaker;
  private readonly writer: CheckpointWriter;
  private readonly micro: number;
  private state!: TrainingState;
  private teacher: Teacher | undefined;
  private decoder!: Decoder;
  private evaluator: Evaluator | undefined;
  private record: RunRecord = newRecord();
  private metrics!: MetricsLog;
  private prefetch!: Prefetch<HostBatch>;
  /** Time in steps, and samples in them, since the last line of metrics. */
  private busyMs = 0;
  private images = 0;
  private loss = Number.NaN;
  private savedStep = -1;
  /** All that was counted for the newest line of metrics. */
  private routing: RoutingFile | undefined;
  /** The newest save that failed, and how many have failed in a row. */
  private failedSave: { error: unknown; reason: string; failures: number } | undefined;

  constructor(
    private readonly config: TrainConfig,
    private readonly options: TrainOptions,
    private readonly source: DataSource,
  ) {
    const { seed, labelDropout, data, objective } = config;
    this.card = {
      config: modelConfig(config, source),
      objective: objective.kind,
      objectiveOptions: objectiveOptions(objective),
      timeScale: objective.kind === 'flow' ? objective.timeScale : 1,
      classNames: source.classNames,
      step: 0,
      ...(source.latents !== undefined && { latents: source.latents }),
    };
    this.micro = config.batchSize / config.accumulation;
    this.batches = new BatchMaker(source, { seed, labelDropout, flip: data.flip });
    this.writer = new CheckpointWriter(options.out, config.checkpoints, (error, failures) => this.saveFailed(error, failures));
  }

  async go(): Promise<TrainResult> {
    const { config, options, card } = this;
    await sweepTemporaries(options.out);
    if (config.distillation !== undefined)
      this.teacher = await Teacher.open(config.distillation.teacher, config.distillation.weight, card, config.precision);
    await writeFileAtomically(path.join(options.out, 'model.json'), `${JSON.stringify(card, null, 2)}\n`);
    this.state = new TrainingState(card.config, config, this.teacher);
    let finished = false;
    try {
      this.decoder = await openDecoder(card, config.sampling.vae);
      if (config.evaluation !== undefined) this.evaluator = await openEvaluator(config, card, this.source, this.decoder);
      const resumed = options.resume && (await this.resume());
      if (!resumed && config.initialWeights !== undefined) await loadInitialWeights(this.state, config.initialWeights);
      this.metrics = await MetricsLog.open(options.out, this.record.step);
      this.loss = this.metrics.lines.at(-1)?.loss ?? Number.NaN;
      this.startPrefetch();
      while (this.record.step < config.steps && !options.signal.aborted) {
        await this.step();
        await options.onStep?.(this.record.step);
      }
      await this.finish();
      finished = true;
      const { step } = this.record;
      const loss = this.metrics.lines.at(-1)?.loss ?? this.loss;
      return { step, loss, interrupted: step < config.steps, state: this.state, card };
    } finally {
      await this.prefetch?.stop();
      await this.writer.settle();
      await this.metrics?.close();
      for (const part of [this.teacher, this.decoder, this.evaluator]) part?.dispose();
      options.progress.done();
      if (!finished) this.state.dispose();
    }
  }

  /** @returns whether there was a checkpoint to go on from */
  private async resume(): Promise<boolean> {
    const { options, source } = this;
    const log = (message: string) => options.progress.log(message);
    const manifest = await restoreLatest(options.out, this.state, log);
    if (manifest === undefined) {
      log('nothing to resume: starting at step 0');
      return false;
    }
    this.goOnFrom(manifest.record);
    this.savedStep = this.record.step;
    if (manifest.data !== source.fingerprint) {
      if (options.acceptDataChange !== true)
        throw new CheckpointError(
          'The data has changed since the checkpoint was made. Restore it, give --accept-data-change to go on with a new epoch, or start anew in another folder.',
        );
      this.record.position = Math.ceil(this.record.position / source.count) * source.count;
      log('WARNING: the data has changed since the checkpoint was made; a new epoch begins.');
    }
    log(`resumed at step ${this.record.step}`);
    return true;
  }

  private goOnFrom({ lossHistory, ...record }: RunRecord): void {
    this.record = record;
    if (lossHistory !== undefined) this.state.objective.timestepSampler?.restore(lossHistory);
  }

  /** Prepares batches from the record's position on. */
  private startPrefetch(): void {
    const { micro, config } = this;
    const { position, step } = this.record;
    const left = (config.steps - step) * config.accumulation;
    this.prefetch = new Prefetch((i) => this.batches.make(position + i * micro, micro), config.data.prefetch, 0, left);
  }

  private async step(): Promise<void> {
    const { config, record, prefetch, source, options } = this;
    const { objective } = this.state;
    const start = performance.now();
    const micros = async function* () {
      for (let m = 0; m < config.accumulation; m++) yield upload(await prefetch.take(), source, objective, config.seed);
    };
    const learningRate = learningRateAt(config, record.step);
    const report = await this.state.step(micros(), learningRate, spikeLimit(record, config.faults.spikeFactor));
    countStep(record, report, config.batchSize);
    this.busyMs += performance.now() - start;
    this.images += config.batchSize;
    const failures = this.failedSave?.failures ?? 0;
    if (failures >= config.faults.maxFailedSaves) throw await this.notSaved(`${failures} checkpoints in a row could not be saved.`);
    if (report.outcome === 'applied') this.loss = report.loss;
    else {
      const why =
        report.outcome === 'spike'
          ? `the gradient's norm ${report.gradNorm.toPrecision(3)} is a spike`
          : 'the loss or gradient is not finite';
      options.progress.log(`step ${record.step}: ${why}; the step was skipped (${record.skipped} in all).`);
      if (record.badInARow >= config.faults.rollBackAfter) {
        await this.rollBack();
        return;
      }
    }
    const { step } = record;
    const last = step === config.steps;
    const every = (n: number) => step % n === 0 || last;
    const evaluation = config.evaluation !== undefined && every(config.evaluation.every) ? await this.evaluate() : undefined;
    if (every(config.logEvery) || evaluation) await this.watch('metrics', () => this.log(learningRate, evaluation));
    if (every(config.histogramEvery)) await this.watch('histograms', () => this.histograms());
    if (every(config.sampling.every)) await this.watch('samples', () => this.preview());
    if (every(config.checkpoints.every)) await this.save();
    if (every(config.sampling.every) || every(config.checkpoints.every)) await this.watch('report', () => this.report());
  }

  /** Goes back to the last checkpoint, if there is one, and passes over the batches at which training broke. */
  private async rollBack(): Promise<void> {
    const { config, options } = this;
    const { rollBackAfter, skipBatches, maxRollBacks } = config.faults;
    const { position, rollBacks, skipped } = this.record;
    if (rollBacks >= maxRollBacks)
      throw new DivergedError(
        `${rollBackAfter} steps in a row gave no finite gradient, after ${rollBacks} roll-backs. The checkpoints are untouched; resume with a lower learning rate (--set optimizer.learningRate=...), clipping (optimizer.clipNorm) or in f32.`,
      );
    await this.prefetch.stop();
    await this.writer.settle();
    const manifest = await restoreLatest(options.out, this.state, (message) => options.progress.log(message));
    // Without a checkpoint the weights are still those before the first bad step: only the batches are passed over.
    if (manifest !== undefined) this.goOnFrom(manifest.record);
    Object.assign(this.record, { position: position + skipBatches * config.batchSize, rollBacks: rollBacks + 1, skipped, badInARow: 0 });
    await this.metrics.rewind(this.record.step);
    options.progress.log(`WARNING: rolled back to step ${this.record.step}, passing over ${skipBatches} batches.`);
    this.startPrefetch();
  }

  /** Writes what only people look at: a disk that is full for a while must not end the training. */
  private async watch(what: string, write: () => Promise<void>): Promise<void> {
    try {
      await write();
    } catch (error) {
      const output = outputError(error, this.options.out);
      if (!(output instanceof OutputError)) throw error;
      this.options.progress.log(`WARNING: no ${what} for step ${this.record.step}: ${output.message}`);
    }
  }

  private async histograms(): Promise<void> {
    await this.metrics.summaries(this.record.step, await weightHistograms(this.state.parameters));
  }

  private async log(learningRate: number, evaluation?: Record<string, number>): Promise<void> {
    const { record, config, options } = this;
    const { window, step, skipped } = record;
    const { telemetry } = this.state;
    const n = Math.max(1, window.steps);
    const routing = await telemetry?.read();
    const line = {
      step,
      loss: window.steps === 0 ? this.loss : window.loss / n,
      balance: window.balance / n,
      gradNorm: window.gradNorm / n,
      learningRate,
      imagesPerSecond: (this.images * 1000) / this.busyMs,
      stall: this.prefetch.takeWaited() / this.busyMs,
      memory: Math.round(process.memoryUsage.rss() / 2 ** 20),
      skipped,
      routing: routing === undefined ? [] : layerRouting(routing),
      ...(evaluation && { evaluation }),
    };
    record.window = emptyWindow();
    telemetry?.reset();
    [this.busyMs, this.images] = [0, 0];
    await this.metrics.add(line);
    this.routing = routing && { step, ...routing };
    options.progress.update({ step, steps: config.steps, loss: line.loss, imagesPerSecond: line.imagesPerSecond });
  }

  private async evaluate(): Promise<Record<string, number>> {
    const { step } = this.record;
    const { scalars, summary } = await this.evaluator!.evaluate(step, this.state.emas[0].averages.parameters);
    this.options.progress.log(`step ${step}: ${summary}`);
    return scalars;
  }

  private async preview(): Promise<void> {
    const { state, card, config, record, options } = this;
    card.step = record.step;
    const { png, width, height } = await previewSamples(options.out, state.emas[0].averages.parameters, config, card, this.decoder);
    await this.metrics.summaries(record.step, [{ tag: 'samples', png, width, height }]);
  }

  private async report(): Promise<void> {
    const { out } = this.options;
    if (this.routing !== undefined) await writeFileAtomically(path.join(out, ROUTING_FILE), JSON.stringify(this.routing));
    await writeReport(out);
  }

  private async save(): Promise<void> {
    const { state, card, record, source } = this;
    card.step = record.step;
    const lossHistory = state.objective.timestepSampler?.lossHistory;
    await this.writer.save(state, card, { ...record, ...(lossHistory && { lossHistory }) }, source.fingerprint);
    this.savedStep = record.step;
  }

  /** A save that failed is reported; the run goes on until it has happened too often. */
  private saveFailed(error: unknown, failures: number): void {
    const reason = (outputError(error, path.join(this.options.out, 'checkpoints')) as Error).message;
    this.options.progress.log(`WARNING: the checkpoint could not be saved (${failures} in a row): ${reason}`);
    this.savedStep = -1;
    this.failedSave = { error, reason, failures };
  }

  /** The error that ends a run whose saves fail: what happened, why, what is left of the run, and how to go on. */
  private async notSaved(what: string): Promise<OutputError> {
    const { error, reason } = this.failedSave!;
    const [newest] = await listCheckpoints(this.options.out);
    const next =
      newest === undefined
        ? 'Nothing of this run is saved yet: the same command with --resume starts it again at step 0.'
        : `${newest} is the newest one saved: the same command with --resume goes on from there.`;
    return new OutputError(`${what} ${reason} ${next}`, { cause: error });
  }

  /** Makes sure that the last step is saved, on disk. */
  private async finish(): Promise<void> {
    if (this.savedStep !== this.record.step) {
      await this.save();
      await this.watch('report', () => this.report());
    }
    await this.writer.settle();
    if (this.savedStep !== this.record.step) {
      await this.save();
      await this.writer.settle();
    }
    if (this.savedStep !== this.record.step)
      throw await this.notSaved(`The last checkpoint, of step ${this.record.step}, could not be saved.`);
  }
}
