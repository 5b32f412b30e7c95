/** `train`: starts the backend, turns signals into an orderly stop, prints the result. */
import path from 'node:path';
import { exitCodes, interruption, UsageError } from '@dit-moe/kit';
import { type BackendName, launchInfo, startBackend } from '@dit-moe/tensor-ops/node';
import { joinTraining, silent, startProcesses, threadsIn } from '../cluster/join.js';
import { resolveConfig } from '../config/resolve.js';
import { trainingProgress } from '../run/progress.js';
import { threadsOf } from '../run/threads.js';
import { type TrainResult, train } from '../training/train.js';
import { dryRun, formatDryRun } from './dry-run.js';
import { type ImageFlags, imageSourceOf } from './image-options.js';

export interface TrainFlags extends ImageFlags {
  config?: string;
  preset?: string;
  data?: string;
  /** Run folder; may be missing in a dry run. */
  out?: string;
  set: string[];
  resume: boolean;
  acceptDataChange?: boolean;
  dryRun?: boolean;
  backend: BackendName;
  threads?: number;
  /** Start this many processes on this machine, which train together. */
  processes?: number;
  /** How many times they are started again after a failure. */
  restarts?: number;
  /** Open TensorFlow's server on a machine that the internet may reach. */
  acceptOpenPort?: boolean;
  json: boolean;
}

/** Runs `train` and returns the exit code. `after` sees the finished state before it is freed. */
export async function trainCommand(flags: TrainFlags, after?: (result: TrainResult) => Promise<object>): Promise<number> {
  const config = resolveConfig({
    overrides: flags.set,
    ...(flags.preset !== undefined && { preset: flags.preset }),
    ...(flags.config !== undefined && { file: flags.config }),
    ...(flags.data !== undefined && { data: flags.data }),
    images: imageSourceOf(flags),
  });
  if (flags.out === undefined && flags.dryRun !== true) throw new UsageError('Give the run folder: --out FOLDER.');
  const out = flags.out ?? '';
  if (flags.processes !== undefined && flags.processes > 1) return startProcesses(flags.processes, flags.restarts);
  const launch = flags.dryRun === true ? undefined : launchInfo(process.env);
  // What all ranks do alike, rank 0 says.
  const progress = launch === undefined || launch.rank === 0 ? trainingProgress() : silent;
  const cluster = launch && (await joinTraining(launch, config, { acceptOpenPort: flags.acceptOpenPort === true, progress }));
  progress.phase('starting the backend');
  const threads = { ...threadsIn(flags.threads ?? threadsOf(config), launch?.localSize), ...(cluster && { cluster }) };
  const backend = await startBackend(flags.backend, threads, (message) => progress.log(message));
  const shares =
    threads.interOpThreads !== undefined && backend.name === 'tensorflow' ? ', one for each operation of this small model' : '';
  progress.log(`backend ${backend.name} ${backend.version}, threads: ${backend.threads}${shares}`);
  if (flags.dryRun === true) {
    const plan = await dryRun(config);
    console.log(flags.json ? JSON.stringify(plan) : formatDryRun(config, plan));
    return exitCodes.ok;
  }
  const stop = interruption((cause) => progress.log(`${cause}: finishing the step and saving; once more ends at once.`));
  try {
    const result = await train(config, {
      out,
      resume: flags.resume,
      acceptDataChange: flags.acceptDataChange ?? false,
      progress,
      signal: stop.signal,
      ...(cluster && { cluster }),
    });
    const leads = cluster === undefined || cluster.rank === 0;
    const more = result.interrupted || !leads ? {} : await after?.(result);
    result.state.dispose();
    const summary = {
      step: result.step,
      loss: result.loss,
      interrupted: result.interrupted,
      out: path.resolve(out),
      backend: backend.name,
      ...more,
    };
    if (!leads) return result.interrupted ? exitCodes.interrupted : exitCodes.ok;
    if (flags.json) console.log(JSON.stringify(summary));
    else if (result.interrupted) console.log(`Saved at step ${result.step}. Go on with --resume.`);
    else console.log(`Done: ${result.step} steps, loss ${result.loss.toFixed(4)}. Look at ${path.join(out, 'report.html')}`);
    return result.interrupted ? exitCodes.interrupted : exitCodes.ok;
  } finally {
    stop.release();
  }
}
