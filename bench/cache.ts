/**
 * What sampling that skips costs in quality: the models that come along, several solvers, with a cache against without it.
 *
 * No clock: evaluations are counted, so the numbers are the same at any load. A judge that `pnpm models` has trained, where there is one,
 * says how many samples are of their class and how far they are from real images.
 */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Pixels } from '@dit-moe/data';
import type { CacheSchedule, SolverName } from '@dit-moe/diffusion';
import { accuracy, classifierExtractor, collectFeatures, type FeatureExtractor, frechetDistance, type Moments } from '@dit-moe/metrics';
import { openClassifier, openImageSet } from '@dit-moe/metrics/node';
import { bundledModels } from '@dit-moe/models';
import { openPipeline } from '@dit-moe/pipeline/node';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import { recipes, WORK } from '../reproduce/recipes.js';
import { BenchmarkError, type BenchmarkOptions, type BenchmarkResult, result } from './harness/benchmark.js';

export const description = 'what a cache costs in quality, by solver, on the models that come along; judged where `pnpm models` has run';

const samplings: readonly { solver: SolverName; steps: number }[] = [
  { solver: 'euler', steps: 50 },
  { solver: 'heun', steps: 25 },
  { solver: 'dpm++2m', steps: 20 },
  { solver: 'dpm++2m', steps: 50 },
  { solver: 'ddpm', steps: 250 },
];
const schedules: readonly CacheSchedule[] = ['exact', 'fast', 2, 3];
const IMAGES = { quick: 200, full: 1000 };

export async function run({ quick, only, log }: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const names = bundledModels.map(({ name }) => name);
  if (only !== undefined && !names.includes(only)) throw new BenchmarkError(`There is no model "${only}": ${names.join(', ')}.`);
  await useTensorFlow({ threads: 1 });
  const results: BenchmarkResult[] = [];
  const add = (name: string, unit: string, better: 'more' | 'less', value: number, peer: number | null): void => {
    results.push(result(name, unit, better, value, peer));
  };
  for (const { name, weights } of bundledModels) {
    if (only !== undefined && only !== name) continue;
    const pipeline = await openPipeline(fileURLToPath(weights));
    const judge = await openJudge(name);
    const { numClasses } = pipeline.card.config;
    const labels = Array.from({ length: IMAGES[quick ? 'quick' : 'full'] }, (_, i) => i % numClasses);
    for (const sampling of samplings) {
      const sample = async (cache?: CacheSchedule) => {
        let evaluations = 0;
        const request = { ...sampling, seed: 0, labels, batch: labels.length, ...(cache && { cache }) };
        const pixels = await pipeline.sample({ ...request, onRouting: () => evaluations++ });
        return { pixels, evaluations, judged: await judge?.judge(pixels, labels) };
      };
      const plain = await sample();
      for (const cache of schedules) {
        const skipping = await sample(cache);
        const line = `${name} ${sampling.solver} ${sampling.steps} ${cache}`;
        const difference = rootMeanSquare(skipping.pixels, plain.pixels);
        add(`${line}: evaluations`, 'of the model', 'less', skipping.evaluations, plain.evaluations);
        add(`${line}: difference`, 'of 255', 'less', difference, null);
        let text = `${line}: ${skipping.evaluations} of ${plain.evaluations} evaluations, difference ${difference.toFixed(2)} of 255`;
        if (skipping.judged !== undefined && plain.judged !== undefined) {
          const [ours, theirs] = [skipping.judged, plain.judged];
          add(`${line}: told right`, '%', 'more', 100 * ours.accuracy, 100 * theirs.accuracy);
          add(`${line}: Frechet distance`, '', 'less', ours.distance, theirs.distance);
          text += `, told right ${(100 * ours.accuracy).toFixed(1)} % (${(100 * theirs.accuracy).toFixed(1)} %), Frechet distance ${ours.distance.toFixed(3)} (${theirs.distance.toFixed(3)})`;
        }
        log(text);
      }
    }
    judge?.dispose();
    pipeline.dispose();
  }
  return results;
}

/** The judge of a model and the moments of the real images, if `pnpm models` has made them here. */
async function openJudge(name: string) {
  const { images, splits, size } = recipes[name];
  const at = (file: string): string => path.join(import.meta.dirname, '..', file);
  const file = at(`${WORK}/${name}-classifier.safetensors`);
  // Where the samples have not the size of the images, there is no distance to them.
  if (size !== undefined || !fs.existsSync(file) || !fs.existsSync(at(images))) return undefined;
  const { weights, about } = await openClassifier(file);
  const extractor = classifierExtractor(weights, about);
  const real = await openImageSet(at(images), { ...(splits && { split: splits[1] }) });
  const { moments } = await collectFeatures(real.images(), extractor.extract, { batch: 100 });
  await real.close();
  return {
    judge: (pixels: Pixels, labels: readonly number[]) => judgePictures(extractor, moments.pool!.moments(), pixels, labels),
    dispose() {
      extractor.dispose();
      weights.dispose();
    },
  };
}

async function judgePictures(
  extractor: FeatureExtractor<'pool' | 'logits'>,
  real: Moments,
  pixels: Pixels,
  labels: readonly number[],
): Promise<{ accuracy: number; distance: number }> {
  const { features, moments } = await collectFeatures(
    (async function* () {
      yield pixels;
    })(),
    extractor.extract,
    { batch: 100 },
  );
  return { accuracy: accuracy(features.logits!, labels), distance: frechetDistance(moments.pool!.moments(), real).distance };
}

function rootMeanSquare({ data: a }: Pixels, { data: b }: Pixels): number {
  return Math.sqrt(a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0) / a.length);
}
