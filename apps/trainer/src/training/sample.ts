/** Samples from the averaged weights, for previews and the demo. */
import { classifierFreeGuidance, finish, flowModel, type Pixels, sample, toPixels } from '@dit-moe/diffusion';
import { type DitConfig, dit } from '@dit-moe/dit';
import { compile, type Parameter, randomNormalBatch } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

export interface SampleOptions {
  labels: readonly number[];
  seed: number;
  steps: number;
  guidance: number;
  timeScale: number;
  /** Number of the first sample; the noise of a sample depends on seed and number only (default 0). */
  first?: number;
}

/** Generates one image per label. */
export async function samplePixels(
  weights: Readonly<Record<string, Parameter>>,
  model: DitConfig,
  options: SampleOptions,
): Promise<Pixels> {
  const { seed, steps, guidance, timeScale, first = 0 } = options;
  const labels = tf.tensor1d(options.labels as number[], 'int32');
  const indices = options.labels.map((_, i) => first + i);
  const noise = randomNormalBatch({ seed, purpose: 'sample', indices }, [model.inChannels, ...model.inputSize]);
  const forward = compile(
    (x: tf.Tensor, t: tf.Tensor, y: tf.Tensor) => {
      const read = Object.fromEntries(Object.entries(weights).map(([name, parameter]) => [name, parameter.read()]));
      return dit(read, model, x, tf.mul(t, timeScale), y).output;
    },
    { name: 'sample' },
  );
  try {
    const denoiser = classifierFreeGuidance((x, t, y) => forward.run(x, t, y), { labels, nullLabel: model.numClasses, scale: guidance });
    const x = await finish(sample(flowModel(denoiser), noise, { solver: 'euler', steps }));
    const pixels = await toPixels(x);
    x.dispose();
    return pixels;
  } finally {
    forward.dispose();
    tf.dispose([labels, noise]);
  }
}
