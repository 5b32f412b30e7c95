/** `train`: starts the backend, turns signals into an orderly stop, prints the result. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { contactSheet, pictureAt } from '@dit-moe/diffusion';
import { writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import { type BackendName, startBackend } from '@dit-moe/tensor-ops/node';
import { encode } from 'fast-png';
import { resolveConfig } from '../config.js';
import { exitCodes } from '../errors.js';
import { createProgress } from '../run/progress.js';
import { samplePixels } from '../training/sample.js';
import { type TrainResult, train } from '../training/train.js';

export interface TrainFlags {
  config?: string;
  preset?: string;
  data?: string;
  out: string;
  set: string[];
  resume: boolean;
  backend: BackendName;
  threads?: number;
  json: boolean;
}

/** Runs `train` and returns the exit code. `after` sees the finished state before it is freed. */
export async function trainCommand(flags: TrainFlags, after?: (result: TrainResult) => Promise<object>): Promise<number> {
  const config = resolveConfig({
    overrides: flags.set,
    ...(flags.preset !== undefined && { preset: flags.preset }),
    ...(flags.config !== undefined && { file: flags.config }),
    ...(flags.data !== undefined && { data: flags.data }),
  });
  const progress = createProgress(process.stderr);
  const backend = await startBackend(flags.backend, flags.threads, (message) => progress.log(message));
  progress.log(`backend ${backend.name} ${backend.version} (${backend.reason}), ${backend.threads} threads`);
  const stop = new AbortController();
  const onSignal = (signal: NodeJS.Signals) => {
    if (stop.signal.aborted) process.exit(exitCodes.interrupted);
    progress.log(`${signal}: finishing the step and saving; once more ends at once.`);
    stop.abort();
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGUSR1'] as const;
  for (const signal of signals) process.on(signal, onSignal);
  try {
    const result = await train(config, { out: flags.out, resume: flags.resume, progress, signal: stop.signal });
    const more = result.interrupted ? {} : await after?.(result);
    result.state.dispose();
    const summary = {
      step: result.step,
      loss: result.loss,
      interrupted: result.interrupted,
      out: path.resolve(flags.out),
      backend: backend.name,
      ...more,
    };
    if (flags.json) console.log(JSON.stringify(summary));
    else if (result.interrupted) console.log(`Saved at step ${result.step}. Go on with --resume.`);
    else console.log(`Done: ${result.step} steps, loss ${result.loss.toFixed(4)}. Look at ${path.join(flags.out, 'report.html')}`);
    return result.interrupted ? exitCodes.interrupted : exitCodes.ok;
  } finally {
    for (const signal of signals) process.off(signal, onSignal);
  }
}

/** Images per class that the demo leaves in `<out>/digits/<class>/`. */
const DEMO_PER_CLASS = 20;

/** `demo`: trains on the digits that come with the package, then samples 20 images of each class. */
export async function demoCommand(flags: TrainFlags): Promise<number> {
  return trainCommand({ ...flags, preset: flags.preset ?? 'digits' }, async ({ state, card }) => {
    const config = resolveConfig({ preset: flags.preset ?? 'digits', overrides: flags.set });
    const labels = card.classNames.flatMap((_, label) => Array<number>(DEMO_PER_CLASS).fill(label));
    const pixels = await samplePixels(state.ema.averages, card.config, {
      labels,
      seed: config.seed + 1,
      timeScale: card.timeScale,
      ...config.sampling,
    });
    const folder = path.join(flags.out, 'digits');
    for (const [i, label] of labels.entries()) {
      const directory = path.join(folder, card.classNames[label]!);
      await fs.mkdir(directory, { recursive: true });
      const { data, width, height, channels } = pictureAt(pixels, i);
      const file = path.join(directory, `${String(i % DEMO_PER_CLASS).padStart(3, '0')}.png`);
      await writeFileAtomically(file, encode({ data, width, height, channels, depth: 8 }));
    }
    const { data, width, height, channels } = contactSheet(pixels, DEMO_PER_CLASS, 4);
    const sheet = path.join(flags.out, 'digits.png');
    await writeFileAtomically(sheet, encode({ data, width, height, channels, depth: 8 }));
    if (!flags.json) console.log(`${labels.length} samples in ${folder}, all of them in ${sheet}`);
    return { samples: folder, sheet };
  });
}
