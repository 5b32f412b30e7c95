/** Samples from the averaged weights, for previews, online metrics and the demo. */
import { joinPixels, type Pixels } from '@dit-moe/data';
import { classifierFreeGuidance, finish, type ObjectiveOptions, objective, sample } from '@dit-moe/diffusion';
import { dit, type ModelCard } from '@dit-moe/dit';
import { compile, type Parameter, type Precision, randomNormalBatch } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { Decoder } from './decoder.js';

export interface SampleOptions {
  labels: readonly number[];
  seed: number;
  steps: number;
  /** Scale of classifier-free guidance; 1 for none. */
  guidance: number;
  precision?: Precision;
  /** Number of the first sample; the noise of a sample depends on seed and number only (default 0). */
  first?: number;
  /** Ends the sampling with its reason before the next step of the solver. */
  signal?: AbortSignal | undefined;
}

/** Samples at once: more need memory and are not faster. */
const BATCH = 64;

/** Generates one sample per label: Euler for flow models, DDIM for Gaussian ones. */
export async function sampleImages(
  weights: Readonly<Record<string, Parameter>>,
  card: ModelCard,
  decoder: Decoder,
  options: SampleOptions,
): Promise<Pixels> {
  const { config } = card;
  const { seed, guidance, precision = 'f32', first = 0, signal } = options;
  const forward = compile(
    (x: tf.Tensor, t: tf.Tensor, y: tf.Tensor) => {
      const read = Object.fromEntries(Object.entries(weights).map(([name, parameter]) => [name, parameter.read()]));
      return dit(read, config, x, card.timeScale === 1 ? t : tf.mul(t, card.timeScale), y, { precision }).output;
    },
    { name: 'sample' },
  );
  const parts: Pixels[] = [];
  try {
    for (let start = 0; start < options.labels.length; start += BATCH) {
      const batch = options.labels.slice(start, start + BATCH);
      const labels = tf.tensor1d(batch as number[], 'int32');
      const indices = batch.map((_, i) => first + start + i);
      const noise = randomNormalBatch({ seed, purpose: 'sample', indices }, [config.inChannels, ...config.inputSize]);
      const guided = classifierFreeGuidance((x, t, y) => forward.run(x, t, y), { labels, nullLabel: config.numClasses, scale: guidance });
      const model = objective(card.objectiveOptions as ObjectiveOptions).model(guided);
      const solver = card.objective === 'flow' ? 'euler' : 'ddim';
      try {
        const x = await finish(sample(model, noise, { solver, steps: options.steps, ...(signal && { signal }) }));
        parts.push(await decoder.decode(x).finally(() => x.dispose()));
      } finally {
        tf.dispose([labels, noise]);
      }
    }
  } finally {
    forward.dispose();
  }
  return joinPixels(parts);
}
