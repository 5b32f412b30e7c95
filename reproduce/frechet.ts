/** Frechet distance of many samples to the held-out images, in features of the classifier, for models of one active size. */
import fs from 'node:fs';
import path from 'node:path';
import type { EvaluationRecord } from '../apps/sampler/src/commands/evaluate.js';
import { root, runCommands } from './commands.js';
import { digestOf } from './results.js';
import { type Scale, splitOf } from './training.js';

/** Distance of a set of images to all held-out ones. */
export interface Frechet {
  /** Of its samples; without, real images of the training. */
  arm?: string;
  /** Of the arm's settings. */
  settings?: string;
  images: number;
  distance: number;
  /** Bounds of the 95 % interval by bootstrap. */
  low: number;
  high: number;
  /** Share that the classifier tells right. */
  toldRight: number;
}

/** All of one active size. */
export const frechetArms = ['mixture', 'dense-matched', 'expert-choice'];

/** Measures real images of the training and samples of each arm. @param classifier weights of the judge */
export async function frechetDistances(scale: Scale, classifier: string, threads: string): Promise<Frechet[]> {
  const { work, data } = scale;
  const { images, steps, seed } = scale.frechet;
  const judge = `--network classifier --network-weights ${classifier} --threads ${threads}`;
  const heldOut = `${work}/held-out.npz`;
  const evaluate = (samples: string, name: string) => {
    const makes = `${work}/${name}-frechet.json`;
    const line = `dit-moe-sampler evaluate ${samples} ${heldOut} ${judge} --metrics accuracy,fd,fd-interval --limit ${images} --out ${makes}`;
    return { line, makes };
  };
  await runCommands([
    {
      line: `dit-moe-sampler evaluate ${data}${splitOf(scale, 'test')} ${judge} --metrics is --save-statistics ${heldOut}`,
      makes: heldOut,
    },
    evaluate(`${data}${splitOf(scale, 'train')}`, 'real'),
    ...frechetArms.flatMap((arm) => {
      const samples = `${work}/samples-${arm}-${seed}`;
      return [
        {
          line: `dit-moe-sampler generate ${work}/${arm}-${seed} --images ${images} --labels balanced --guidance 1 --solver unipc --steps ${steps} --batch 100 --threads ${threads} --out ${samples}`,
          makes: `${samples}/done`,
          printsIt: true,
        },
        { line: `dit-moe-sampler merge ${samples}`, makes: `${samples}/samples.npz` },
        evaluate(samples, arm),
      ];
    }),
  ]);
  return [undefined, ...frechetArms].map((arm) => {
    const file = path.join(root, work, `${arm ?? 'real'}-frechet.json`);
    const { samples, metrics } = JSON.parse(fs.readFileSync(file, 'utf8')) as EvaluationRecord;
    return {
      ...(arm !== undefined && { arm, settings: digestOf(arm) }),
      images: samples.count,
      distance: metrics.fd!.distance,
      low: metrics['fd-interval']!.low,
      high: metrics['fd-interval']!.high,
      toldRight: metrics.accuracy!,
    };
  });
}
