/** A training run from start, or from its last checkpoint, to its end or to a signal. */
import fs from 'node:fs/promises';
import path from 'node:path';
import type { ModelCard } from '@dit-moe/dit';
import { guidedChannels, type Pipeline, pipelineOf } from '@dit-moe/pipeline';
import { NO_AUTOENCODER, openSpace, placeOf } from '@dit-moe/pipeline/node';
import { asWriteError, type Lock, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import { type Cluster, PeerError } from '@dit-moe/tensor-ops/node';
import { refuseUnevenExperts, refuseUnevenParts } from '../cluster/uneven-parts.js';
import { remarks } from '../config/remarks.js';
import { modelConfig, objectiveOptions } from '../config/resolve.js';
import type { TrainConfig } from '../config/schema.js';
import { openHeldOut } from '../data/held-out.js';
import { openData } from '../data/open.js';
import type { DataSource } from '../data/source.js';
import { CheckpointError, InterruptedError } from '../errors.js';
import type { RunEnd } from '../logging/tracker.js';
import type { Progress } from '../run/progress.js';
import { checkRunFolder, openRunFolder } from '../run/run-folder.js';
import { sweepTemporaries } from './checkpoints.js';
import { openEvaluator } from './evaluation.js';
import { loadInitialWeights } from './initial-weights.js';
import { gatheredAverage, releasedAverage } from './listeners/gathered-average.js';
import { gatheredCounters } from './listeners/gathered-counters.js';
import { heldOutLoss } from './listeners/held-out-loss.js';
import { isDue, type Listener, tell } from './listeners/listener.js';
import { logListeners } from './listeners/log.js';
import { onlineMetrics } from './listeners/online-metrics.js';
import { histograms, previews } from './listeners/pictures.js';
import { profiling } from './listeners/profiling.js';
import { Saving } from './listeners/saving.js';
import { openTrackers, Tracking } from './listeners/tracking.js';
import { trainLoop } from './loop.js';
import { MetricsLog } from './metrics-log.js';
import { explained } from './out-of-memory.js';
import { Ranks } from './ranks.js';
import { listCheckpoints } from './retention.js';
import { newTiming, type Run } from './run.js';
import { newRecord } from './run-record.js';
import { TrainingState } from './state.js';
import { Teacher } from './teacher.js';
import { validationOf } from './validation.js';

/** File of the run's model card. */
const CARD = 'model.json';

/** Where and how a run trains, beside its configuration. */
export interface TrainOptions {
  /** Run folder. */
  out: string;
  /** Go on from the last checkpoint. */
  resume: boolean;
  /** Go on although the data is not that of the checkpoint; the order starts anew with the next epoch. */
  acceptDataChange?: boolean;
  progress: Progress;
  /** Starts what computes; awaited when data and folder have been found good, before anything is computed or written. */
  start?: () => Promise<void>;
  /** Ends the run after the current step, with a checkpoint; before the first step with an InterruptedError. */
  signal: AbortSignal;
  /** Profile so many steps after the first; rank 0 alone does (default: none). */
  profile?: number;
  /** The processes that train together (default: this one alone). Each gets its part of every batch; rank 0 alone writes. */
  cluster?: Cluster;
  /** Called after each step with everything that came with it, and awaited; receives the number of steps taken. */
  onStep?: (step: number) => void | Promise<void>;
}

/** What a run comes back with. */
export interface TrainResult {
  step: number;
  /** That of the last line of metrics: the mean over its steps. Before the first line, that of the last step. */
  loss: number;
  interrupted: boolean;
  /** Whole, or this process's part of it. */
  state: TrainingState;
  card: ModelCard;
}

/**
 * Trains; the caller disposes the returned state.
 * @throws errors whose exit codes stand in `exitCodeTable`
 */
export async function train(config: TrainConfig, options: TrainOptions): Promise<TrainResult> {
  const { out, progress, signal, cluster } = options;
  const warn = (message: string): void => progress.log(message);
  const ranks = new Ranks(cluster);
  refuseUnevenParts(config, cluster?.size ?? 1);
  // What costs nothing comes first, and nothing is written before all of it is found good.
  if (ranks.leads) await checkRunFolder(out, config, options.resume, () => {});
  progress.phase('reading the data');
  const source = await openData(config);
  let heldOut: DataSource | undefined;
  try {
    progress.log(source.summary);
    refuseUnevenExperts(modelConfig(config, source), config.parallel, cluster?.size ?? 1);
    // Rank 0 measures.
    if (config.validation !== undefined && ranks.leads) heldOut = await openHeldOut(config, source);
    if (heldOut !== undefined) progress.log(`held out: ${heldOut.summary}`);
    reportSkipped(source, progress);
    for (const remark of remarks(config, source)) progress.log(remark);
    endByItself(options);
    await options.start?.();
    endByItself(options);
    await ranks.agree('The data', source.fingerprint);
    const lock = ranks.leads ? await openRunFolder(out, config, options.resume, warn) : undefined;
    try {
      return await trainIn(config, options, { source, heldOut }, ranks, lock);
    } catch (error) {
      throw asWriteError(error, out);
    } finally {
      await lock?.release();
    }
  } catch (error) {
    if (!PeerError.isInstance(error)) cluster?.report(String((error as Error).message ?? error));
    if (!signal.aborted || error !== signal.reason) throw error;
    throw new InterruptedError(options.resume && (await listCheckpoints(out)).length > 0);
  } finally {
    progress.done();
    await heldOut?.close();
    await source.close();
  }
}

/** Ends the preparation at a signal. Ranks of a cluster go on to the loop, where all of them end at the same step. */
function endByItself({ signal, cluster }: TrainOptions): void {
  if (cluster === undefined) signal.throwIfAborted();
}

function reportSkipped({ skipped }: DataSource, progress: Progress): void {
  for (const { reason } of skipped.slice(0, 10)) progress.log(`skipped ${reason}`);
  if (skipped.length > 0) progress.log(`${skipped.length} unreadable images were skipped.`);
}

/** Trains in a folder that is locked. */
async function trainIn(
  config: TrainConfig,
  options: TrainOptions,
  data: Pick<Run, 'source' | 'heldOut'>,
  ranks: Ranks,
  lock: Lock | undefined,
): Promise<TrainResult> {
  const { out, progress, signal } = options;
  const { source } = data;
  const warn = (message: string): void => progress.log(message);
  /** What has to be freed at the end, the newest first. */
  const opened: (() => void | Promise<void>)[] = [];
  const open = <T extends { dispose(): void }>(part: T): T => {
    opened.unshift(() => part.dispose());
    return part;
  };
  let finished = false;
  let end: RunEnd = 'failed';
  /** A part of the preparation, which a signal ends. */
  const phase = (text: string): void => {
    endByItself(options);
    progress.phase(text);
  };
  try {
    const card = cardOf(config, source, options.resume ? await cardBefore(out) : undefined);
    const { distillation } = config;
    phase('preparing the model');
    const teacher = distillation && open(await Teacher.open(distillation, card, config.precision, warn));
    if (ranks.leads) {
      await sweepTemporaries(out);
      await writeFileAtomically(path.join(out, CARD), `${JSON.stringify(card, null, 2)}\n`);
    }
    const state = new TrainingState(card.config, config, teacher, ranks.cluster);
    opened.unshift(() => (finished ? undefined : state.dispose()));
    const run: Run = { ...{ out, config, card, ...data, state, progress, signal, ranks }, record: newRecord(), timing: newTiming() };
    const saving = new Saving(run);
    opened.unshift(() => saving.settle());
    if (options.resume) phase('loading the checkpoint');
    const resumed = options.resume && (await resume(run, saving, options.acceptDataChange === true));
    if (!resumed && config.initialWeights !== undefined) {
      await loadInitialWeights(state, config.initialWeights, card.classNames, warn);
      state.weightsGiven({ averages: true });
    }
    phase('compiling the first step');
    let loss = Number.NaN;
    const writing = ranks.leads ? await openListeners(run, saving, opened, { lastLoss: () => loss, end: () => end }) : undefined;
    loss = writing?.metrics.lines.at(-1)?.loss ?? loss;
    const profiled = options.profile !== undefined && ranks.leads ? [open(profiling(run, options.profile))] : [];
    const listeners: Listener[] = [
      ...profiled,
      { name: 'lock', every: 1, fatal: true, run: async () => lock?.check() },
      gatheredCounters(run),
      gatheredAverage(run),
      ...(writing?.listeners ?? saving.listeners),
    ];
    const slow = [config.sampling, config.evaluation, config.validation].flatMap((set) => set?.every ?? []);
    try {
      for await (const event of trainLoop(run, async () => (await saving.restore())?.record)) {
        if (event.kind === 'rolled back') for (const { rewind } of listeners) await rewind?.();
        else {
          if (event.report.outcome === 'applied') loss = event.report.loss;
          await tell(listeners, run, { learningRate: event.learningRate, evaluation: {} });
          // Pictures and metrics take longer than the others wait for a step.
          if (isDue(slow, run.record.step, run.record.step === config.steps)) await ranks.barrier();
        }
        await options.onStep?.(run.record.step);
      }
    } catch (error) {
      await saving.settle();
      throw await explained(error, run);
    }
    lock?.check();
    const last = { learningRate: 0, evaluation: {} };
    await gatheredCounters(run).run(last);
    await saving.finish(async () => writing && tell([{ ...writing.report, every: 1 }], run, last));
    // Who leaves while others compute looks to them as if it had died.
    await ranks.barrier();
    finished = true;
    const { step } = run.record;
    const interrupted = step < config.steps;
    end = interrupted ? 'interrupted' : 'finished';
    const result = { step, loss: writing?.metrics.lines.at(-1)?.loss ?? loss, interrupted };
    return { ...result, state, card: { ...card, step } };
  } finally {
    for (const close of opened) await close();
  }
}

/** Makes pictures of the first average, as `sample` does; without an autoencoder in the configuration, rough ones of latents. */
async function openRunPipeline({ card, config, state }: Run): Promise<Pipeline> {
  const space = await openSpace(card, config.sampling.vae ?? NO_AUTOENCODER, { encoder: false });
  return pipelineOf(card, state.average, space, config.precision);
}

/** What rank 0 does between steps. */
async function openListeners(
  run: Run,
  saving: Saving,
  opened: (() => void | Promise<void>)[],
  { lastLoss, end }: { lastLoss: () => number; end: () => RunEnd },
): Promise<{ listeners: Listener[]; report: Listener; metrics: MetricsLog }> {
  const { config, source, signal, out } = run;
  const pipeline = await openRunPipeline(run);
  opened.unshift(() => pipeline.dispose());
  if (config.evaluation !== undefined) run.progress.phase('preparing the online metrics');
  const evaluator = config.evaluation && (await openEvaluator(config, pipeline, source, signal));
  opened.unshift(() => evaluator?.dispose());
  const validation = run.heldOut && validationOf(config, pipeline.model, run.heldOut);
  opened.unshift(() => validation?.dispose());
  const metrics = await MetricsLog.open(out, run.record.step);
  opened.unshift(() => metrics.close());
  const tracking = new Tracking(run, await openTrackers(run, metrics));
  opened.unshift(() => tracking.finish(end()));
  const [log, report] = logListeners(run, metrics, lastLoss);
  const [failures, checkpoints] = saving.listeners;
  const listeners: Listener[] = [
    failures,
    ...(evaluator === undefined ? [] : [onlineMetrics(run, config.evaluation!.every, evaluator)]),
    ...(validation === undefined ? [] : [heldOutLoss(run, config.validation!.every, validation)]),
    ...[log, histograms(run, metrics), previews(run, metrics, pipeline), tracking.listener, releasedAverage(run), checkpoints, report],
  ];
  return { listeners, report, metrics };
}

/** The card that the run was started with. */
async function cardBefore(out: string): Promise<ModelCard | undefined> {
  const text = await fs.readFile(path.join(out, CARD), 'utf8').catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as ModelCard);
}

function cardOf(config: TrainConfig, source: DataSource, before: ModelCard | undefined): ModelCard {
  const { objective, sampling } = config;
  const model = modelConfig(config, source);
  // Runs of before models without label dropout knew no null label have its row among their weights.
  const { nullLabel } = before?.config ?? model;
  const card: ModelCard = {
    config: { ...model, nullLabel },
    objective: objective.kind,
    objectiveOptions: objectiveOptions(objective),
    timeScale: objective.kind === 'flow' ? objective.timeScale : 1,
    classNames: source.classNames,
    step: 0,
    ...(sampling.guidance !== undefined && { guidance: sampling.guidance }),
    ...(sampling.guidanceRule !== undefined && { guidanceRule: sampling.guidanceRule }),
    ...(source.latents !== undefined && {
      latents: { ...source.latents, ...(sampling.vae !== undefined && { autoencoder: placeOf(sampling.vae) }) },
    }),
  };
  return { ...card, guidedChannels: guidedChannels(card) };
}

/** @returns whether there was a checkpoint to go on from */
async function resume(run: Run, saving: Saving, acceptDataChange: boolean): Promise<boolean> {
  const { source, progress } = run;
  const saved = await saving.restore();
  if (saved === undefined) {
    progress.log('nothing to resume: starting at step 0');
    return false;
  }
  run.record = saved.record;
  // Fingerprints of before had no prefix, and were others for data in memory than for data on disk.
  if (saved.data !== source.fingerprint && !saved.data.startsWith('files:'))
    progress.log(
      'WARNING: the checkpoint is of an older version, whose fingerprint of the data cannot be compared; the data is taken as the same.',
    );
  else if (saved.data !== source.fingerprint) {
    if (!acceptDataChange)
      throw new CheckpointError(
        'The data has changed since the checkpoint was made. Restore it, give --accept-data-change to go on with a new epoch, or start anew in another folder.',
      );
    run.record = { ...run.record, position: Math.ceil(run.record.position / source.count) * source.count };
    progress.log('WARNING: the data has changed since the checkpoint was made; a new epoch begins.');
  }
  progress.log(`resumed at step ${run.record.step}`);
  return true;
}
