/** A trained model that makes pictures: opened, guided, solved, decoded. */
import { joinPixels, type Pixels } from '@dit-moe/data';
import type { SolverRun } from '@dit-moe/diffusion';
import { type ModelCard, type TrainedDit, trainedDit } from '@dit-moe/dit';
import { ArgumentError, type Parameter, type Precision } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type SamplingDefaults, samplingDefaults } from './conventions.js';
import type { ImageSpace } from './image-space.js';
import { type ImageRequest, modelLabels } from './images.js';
import { encodeReference, type StartPicture } from './reference.js';
import { type SampleProgress, Sampling } from './sampling.js';
import { type SampleSettings, settingsFor } from './settings.js';
import { type SolveOptions, solve } from './solve.js';

/** Images at once: more need memory and are not faster. */
const DEFAULT_BATCH = 64;

/** What to sample: `labels` or `images`, and any settings that are not the model's defaults. */
export interface SampleRequest extends Partial<SampleSettings>, Omit<SolveOptions, 'reference' | 'guide'> {
  /** Class of each image (`null`: no class); image `i` has number `first + i`. */
  labels?: readonly (number | null)[];
  /** Number of the first image, with `labels` (default 0). */
  first?: number;
  /** Instead of `labels`: images with numbers, seeds and ways of their own. */
  images?: readonly ImageRequest[];
  /** Images at once (default 64); a picture does not depend on it. */
  batch?: number;
  /** A picture to start from, or to complete. */
  init?: StartPicture;
  /** Sees the samples of each batch `[B, C, h, w]` in the model's space; they live until it returns. */
  onSamples?: (samples: tf.Tensor) => void | Promise<void>;
}

/** A trained model with its pictures' space. */
export class Pipeline {
  /** How the model is sampled unless a request says otherwise. */
  readonly defaults: SamplingDefaults;

  /**
   * @param model and `space` and `guide` are disposed of with the pipeline
   * @param guide a weaker model that guidance leads away from, instead of the model without its label; see `checkGuide`
   */
  constructor(
    readonly model: TrainedDit,
    readonly space: ImageSpace,
    readonly guide?: TrainedDit,
  ) {
    this.defaults = samplingDefaults(model.card, guide?.card);
  }

  /** What the model is. */
  get card(): ModelCard {
    return this.model.card;
  }

  /**
   * Complete settings, as they are to be recorded with a picture.
   * @throws ArgumentError if a setting does not fit the model
   */
  settings(request: Partial<SampleSettings> = {}): SampleSettings {
    return settingsFor(this.card, request, this.guide?.card);
  }

  /**
   * Pictures of classes: `await` it for all of them, or iterate it for progress after every solver step. Each picture depends on the
   * model, the settings, the seed and its number, not on its batch.
   * @throws ArgumentError at once if labels or settings do not fit the model
   * @throws NotFiniteError if the model gives NaN or infinity
   */
  sample(request: SampleRequest): Sampling {
    const images = this.images(request);
    const settings = this.settings(request);
    const { batch = DEFAULT_BATCH } = request;
    if (images.length === 0) throw new ArgumentError('sample: labels', 'at least one image', '[]');
    if (!Number.isInteger(batch) || batch < 1) throw new ArgumentError('sample: batch', 'a positive integer', batch);
    if (request.noise !== undefined && batch < images.length)
      throw new ArgumentError('sample: batch', `all ${images.length} images at once with given noise`, batch);
    return new Sampling(this.run(images, settings, request, batch));
  }

  /**
   * Samples one batch in the model's space, without pictures: a state per solver step, and samples `[B, C, h, w]` that the caller owns.
   * @throws ArgumentError if labels or settings do not fit the model
   */
  solve(request: Omit<SampleRequest, 'init' | 'batch' | 'onSamples'>): SolverRun {
    return solve(this.model, this.images(request), this.settings(request), { ...request, guide: this.guide });
  }

  /** Frees model, guide and space. */
  dispose(): void {
    this.model.dispose();
    this.guide?.dispose();
    this.space.dispose();
  }

  private images({ labels, first = 0, images }: SampleRequest): readonly ImageRequest[] {
    const asked = images ?? labels?.map((label, i) => ({ label, index: first + i }));
    if (asked === undefined) throw new ArgumentError('sample: labels', 'the class of each image', labels);
    modelLabels(this.card, asked);
    if (this.guide !== undefined) modelLabels(this.guide.card, asked);
    return asked;
  }

  private async *run(
    images: readonly ImageRequest[],
    settings: SampleSettings,
    { init, onSamples, ...options }: SampleRequest,
    batch: number,
  ): AsyncGenerator<SampleProgress, Pixels, void> {
    const { model, space, guide } = this;
    const reference = init === undefined ? undefined : await encodeReference(space, model.card.config.inputSize, init);
    const parts: Pixels[] = [];
    try {
      for (let from = 0; from < images.length; from += batch) {
        const to = Math.min(images.length, from + batch);
        const run = solve(model, images.slice(from, to), settings, { ...options, reference, guide });
        const samples = yield* withPlace(run, space, { from, to, images: images.length });
        try {
          await onSamples?.(samples);
          parts.push(await space.decode(samples));
        } finally {
          samples.dispose();
        }
      }
    } finally {
      tf.dispose([reference?.clean, reference?.mask].filter((tensor) => tensor !== undefined));
    }
    return joinPixels(parts);
  }
}

/** The states of a batch with its place among all images. */
async function* withPlace(
  run: SolverRun,
  space: ImageSpace,
  place: Pick<SampleProgress, 'from' | 'to' | 'images'>,
): AsyncGenerator<SampleProgress, tf.Tensor, void> {
  try {
    for (;;) {
      const { done, value } = await run.next();
      if (done) return value;
      yield { ...value, ...place, preview: () => space.preview(value.clean) };
    }
  } finally {
    await run.return(undefined as never);
  }
}

/**
 * A pipeline of weights that are on the device and may change, such as the averages of a running training: they stay the caller's, the
 * space is disposed of with the pipeline.
 * @param precision of matrix products (default `f32`)
 */
export function pipelineOf(
  card: ModelCard,
  parameters: Readonly<Record<string, Parameter>>,
  space: ImageSpace,
  precision: Precision = 'f32',
): Pipeline {
  return new Pipeline(trainedDit(card, parameters, precision), space);
}
