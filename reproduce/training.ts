/** Trains arms by `dit-moe-trainer sweep`, in full or for a few steps. */
import fs from 'node:fs';
import path from 'node:path';
import { merged } from '../apps/trainer/src/config/resolve.js';
import type { StudyResults } from '../apps/trainer/src/study/results.js';
import { arms, base } from './claims.js';
import { root, runCommands, runLine } from './commands.js';
import { digestOf, type Results, writeResults } from './results.js';

/** Where a reproduction works, and at what size. */
export interface Scale {
  /** Folder of the runs. */
  work: string;
  data: string;
  /** Arguments of the classifier's training. */
  classifier: string;
  /** File of the results. */
  file: string;
  /** Of the pictures in which the choices of experts are counted. */
  pictures: { perClass: number; steps: number };
  /** Splits of the images, if they have some. */
  splits: boolean;
  /** Of the samples whose Frechet distance is measured. */
  frechet: { images: number; steps: number; seed: number };
  base: object;
  /** What an arm becomes at this size. */
  arm(settings: object): object;
}

const merge = (...parts: object[]): object => parts.reduce((a, b) => merged(a, b) as object);

export const fullScale = (file: string): Scale => {
  const work = 'runs/reproduce';
  const data = `${work}/fashion-mnist`;
  return {
    ...{ work, data, file },
    classifier: '--split train --held-out test --epochs 4',
    pictures: { perClass: 16, steps: 25 },
    splits: true,
    frechet: { images: 10_000, steps: 10, seed: 2 },
    base: merge(base, { data: { path: data }, validation: { path: data } }),
    arm: (settings) => settings,
  };
};

/** Two steps of a narrow model on the digits, which are as large as four patches of 4 x 4. */
export const quickScale = (): Scale => {
  const work = 'runs/reproduce-quick';
  const every = 2;
  const data = 'apps/trainer/data/digits';
  return {
    ...{ work, data, file: path.join(root, work, 'results.json') },
    classifier: '--epochs 1',
    pictures: { perClass: 1, steps: 2 },
    splits: false,
    frechet: { images: 20, steps: 2, seed: 0 },
    base: merge(base, {
      data: { path: data, split: undefined },
      model: { patchSize: 2, hiddenSize: 16, depth: 2, numHeads: 2 },
      ...{ steps: every, batchSize: 8, checkpoints: { every }, sampling: { steps: 1 } },
      validation: { split: undefined, share: 0.1, every, samples: 8 },
    }),
    arm: (settings) =>
      merge(
        settings,
        'evaluation' in settings ? { evaluation: { every, samples: 4 } } : {},
        (settings as { model?: { patchSize?: number } }).model?.patchSize === undefined ? {} : { model: { patchSize: 4 } },
      ),
  };
};

/** As an option of a command, where the images have splits. */
export const splitOf = ({ splits }: Scale, split: 'train' | 'test'): string => (splits ? ` --split ${split}` : '');

const isJudged = (arm: string): boolean => 'evaluation' in arms[arm];

/** Trains the judge of the samples, unless it is there. @returns its weights */
export async function trainClassifier(results: Results, { work, data, classifier }: Scale, threads: string): Promise<string> {
  const [weights, makes] = [`${work}/classifier.safetensors`, `${work}/classifier.json`];
  const line = `dit-moe-trainer train-classifier ${data} ${classifier} --threads ${threads} --json --out ${weights}`;
  await runCommands([{ line, makes, printsIt: true }]);
  results.classifier = (JSON.parse(fs.readFileSync(path.join(root, makes), 'utf8')) as { heldOut: Results['classifier'] }).heldOut;
  return weights;
}

/** Trains what the results lack of these arms from a seed, and adds it to them. */
export async function trainArms(results: Results, names: readonly string[], seed: number, threads: string, scale: Scale): Promise<void> {
  const { work, file } = scale;
  const missing = names.filter((arm) => !results.runs.some((run) => run.arm === arm && run.seed === seed));
  const classifier = missing.some(isJudged) ? await trainClassifier(results, scale, threads) : undefined;
  // Losses of other targets cannot be compared, so that each target is a study of its own.
  const targets = [...new Set(missing.map((arm) => JSON.stringify(arms[arm]['objective'])))];
  for (const target of targets) {
    const own = missing.filter((arm) => JSON.stringify(arms[arm]['objective']) === target);
    const settings = (arm: string): object => merge(scale.arm(arms[arm]), isJudged(arm) ? { evaluation: { classifier } } : {});
    const study = `${work}/study.json`;
    const content = { base: scale.base, arms: Object.fromEntries(own.map((arm) => [arm, settings(arm)])), seeds: [seed] };
    fs.writeFileSync(path.join(root, study), JSON.stringify(content));
    try {
      await runLine(`dit-moe-trainer sweep ${study} --out ${work} --threads ${threads}`);
    } finally {
      // Also what was finished before an interruption.
      collect(results, own, path.join(root, work, 'results.json'));
      writeResults(results, file);
    }
  }
}

/** Takes the runs of these arms from the file of a sweep. */
function collect(results: Results, names: readonly string[], file: string): void {
  if (!fs.existsSync(file)) return;
  const { arms: found, machine } = JSON.parse(fs.readFileSync(file, 'utf8')) as StudyResults;
  const runs = found.filter(({ arm }) => names.includes(arm)).flatMap((arm) => arm.runs);
  const news = runs.filter((run) => !results.runs.some(({ arm, seed }) => arm === run.arm && seed === run.seed));
  results.runs.push(...news.map((run) => ({ ...run, settings: digestOf(run.arm), machine })));
}
