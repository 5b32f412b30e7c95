/** `dataset`: makes a data set to train on, from a package that a registry ships or from nothing. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { describeImages, openImages } from '@dit-moe/data/node';
import { createProgress, exitCodes, OutputError, UsageError, untilInterrupted } from '@dit-moe/kit';
import { createFolderAtomically } from '@dit-moe/tensor-ops/io/node';
import type { Fetching } from '../datasets/clients.js';
import { writeEmoji } from '../datasets/emoji.js';
import { writeFashionMnist } from '../datasets/fashion-mnist.js';
import { writeShapes } from '../datasets/shapes.js';

export interface DatasetFlags {
  from?: string;
  perClass?: number;
  size?: number;
  seed?: number;
  json: boolean;
}

interface Dataset {
  /** Options that mean something for it. */
  options: readonly ('from' | 'perClass' | 'size' | 'seed')[];
  splits: readonly (string | undefined)[];
  write(folder: string, flags: DatasetFlags & Fetching): Promise<void>;
}

const datasets: Readonly<Record<string, Dataset>> = {
  emoji: { options: ['from'], splits: ['train', 'test'], write: writeEmoji },
  'fashion-mnist': { options: ['from'], splits: ['train', 'test'], write: writeFashionMnist },
  shapes: {
    options: ['perClass', 'size', 'seed'],
    splits: [undefined],
    write: (folder, { perClass = 1000, size = 16, seed = 0, signal }) => writeShapes(folder, { perClass, size, seed, signal }),
  },
};

/** Runs `dataset` and returns the exit code. */
export const datasetCommand = (name: string, folder: string, flags: DatasetFlags): Promise<number> =>
  untilInterrupted((signal) => makeDataset(name, folder, { ...flags, signal }));

async function makeDataset(name: string, folder: string, flags: DatasetFlags & Fetching): Promise<number> {
  const { options, splits, write } = datasets[name];
  for (const option of ['from', 'perClass', 'size', 'seed'] as const)
    if (flags[option] !== undefined && !options.includes(option))
      throw new UsageError(`--${option === 'perClass' ? 'per-class' : option} does not apply to ${name}.`);
  if ((await fs.readdir(folder).catch(() => [])).length > 0) throw new OutputError(`${folder} is not empty. Choose another folder.`);
  const progress = createProgress();
  progress.phase(flags.from === undefined && options.includes('from') ? 'fetching, with the package client of this machine' : 'writing');
  try {
    await createFolderAtomically(path.resolve(folder), (temporary) => write(temporary, flags));
  } finally {
    progress.done();
  }
  const parts = [];
  for (const split of splits) {
    const source = await openImages(folder, { ...(split !== undefined && { split }) });
    parts.push({ split, images: source.count, classes: source.classNames, description: describeImages(source) });
    await source.close();
  }
  if (flags.json) console.log(JSON.stringify({ folder: path.resolve(folder), parts }));
  else for (const { description } of parts) console.log(`${folder}: ${description}`);
  return exitCodes.ok;
}
