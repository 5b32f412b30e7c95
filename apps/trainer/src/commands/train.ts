/** `train`: starts the backend, turns signals into an orderly stop, prints the result. */
import path from 'node:path';
import { exitCodes, interruption, interruptionExitCode, UsageError } from '@dit-moe/kit';
import { tensorFlowBackend } from '@dit-moe/tensor-ops';
import { type BackendName, type BackendSettings, launchInfo, startBackend } from '@dit-moe/tensor-ops/node';
import { joinTraining, silent, startProcesses } from '../cluster/join.js';
import { remarks } from '../config/remarks.js';
import { resolveConfig } from '../config/resolve.js';
import { InterruptedError } from '../errors.js';
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
  /** Steps to profile. */
  profile?: number;
  /** Mebibytes of GPU memory that may be taken. */
  gpuMemory?: number;
  /** Start this many processes on this machine, which train together. */
  processes?: number;
  /** How many times they are started again after a failure. */
  restarts?: number;
  /** Open TensorFlow's server on a machine that the internet may reach. */
  acceptOpenPort?: boolean;
  json: boolean;
}

/** Runs `train` and returns the exit code. `after` sees the finished state before it is freed. */
export async function trainCommand(
  flags: TrainFlags,
  after?: (result: TrainResult, signal: AbortSignal) => Promise<object>,
): Promise<number> {
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
  const { tensorFloat32, deterministic } = config;
  const settings: BackendSettings = {
    ...{ tensorFloat32, deterministic },
    ...(flags.gpuMemory !== undefined && { gpuMemoryLimit: flags.gpuMemory }),
    ...(flags.threads === undefined ? threadsOf(config, launch) : { threads: flags.threads }),
    ...(cluster && { cluster }),
  };
  let backendName = '';
  const start = async (): Promise<void> => {
    progress.phase('starting the backend');
    const backend = await startBackend(flags.backend, settings, (message) => progress.log(message));
    const shares = settings.interOpThreads !== undefined && backend.name === 'tensorflow' ? ', one for each operation' : '';
    progress.log(`backend ${backend.name} ${backend.version}, threads: ${backend.threads}${shares}`);
    backendName = backend.name;
  };
  if (flags.dryRun === true) {
    await start();
    const plan = await dryRun(config, (text) => progress.phase(text));
    progress.done();
    const secondsOnProcessor = tensorFlowBackend()?.isUsingGpuDevice === true ? undefined : plan.seconds.here;
    if (!plan.data.assumed) for (const remark of remarks(config, { count: plan.data.images, secondsOnProcessor })) progress.log(remark);
    console.log(flags.json ? JSON.stringify(plan) : formatDryRun(config, plan));
    return exitCodes.ok;
  }
  // TensorFlow's server takes SIGTERM for itself; so do we after it. Ranks that have met must not wait long for each other's servers either.
  if (cluster !== undefined) await start();
  const stop = interruption((cause) => progress.log(`${cause}: finishing the step and saving; once more ends at once.`));
  try {
    const { resume, acceptDataChange = false } = flags;
    const result = await train(config, {
      out,
      resume,
      acceptDataChange,
      progress,
      signal: stop.signal,
      ...(flags.profile !== undefined && { profile: flags.profile }),
      ...(cluster === undefined ? { start } : { cluster }),
    });
    const { step, loss, interrupted } = result;
    const leads = cluster === undefined || cluster.rank === 0;
    let more: object | undefined;
    try {
      if (!interrupted && leads) more = await after?.(result, stop.signal);
    } finally {
      result.state.dispose();
    }
    if (!leads) return interrupted ? exitCodes.interrupted : exitCodes.ok;
    const summary = { step, loss, interrupted, out: path.resolve(out), backend: backendName, ...more };
    if (flags.json) console.log(JSON.stringify(summary));
    else if (interrupted) console.log(`Saved at step ${step}. Go on with --resume.`);
    else console.log(`Done: ${step} steps, loss ${loss.toFixed(4)}. Look at ${path.join(out, 'report.html')}`);
    return interrupted ? exitCodes.interrupted : exitCodes.ok;
  } catch (error) {
    const { aborted, reason } = stop.signal;
    if (InterruptedError.isInstance(error)) {
      console.error(error.message);
      return error.saved ? exitCodes.interrupted : interruptionExitCode(reason);
    }
    if (!aborted || error !== reason) throw error;
    console.error('The run is saved; what comes after it was interrupted. Go on with --resume.');
    return exitCodes.interrupted;
  } finally {
    stop.release();
  }
}
