/** What is allowed and yet most likely not meant. */
import type { TrainConfig } from './schema.js';

/** What is known beside the configuration. */
interface Known {
  /** Images. */
  count: number;
  /** Estimated seconds of the whole run on a processor, where a dry run has timed steps of it. */
  secondsOnProcessor?: number;
}

/** Smallest edge in pixels that the preset for processors takes the place of. */
const LARGE = 64;
const DAY = 86_400;

/** One sentence for each; said before a run, and in a dry run. */
export function remarks(
  { batchSize, steps, optimizer, checkpoints, data }: TrainConfig,
  { count, secondsOnProcessor = 0 }: Known,
): string[] {
  const { warmupSteps, learningRate } = optimizer;
  const found: string[] = [];
  if (batchSize > count)
    found.push(
      `NOTE: the batch of ${batchSize} is larger than the data (${count} images): every image is in each batch, some of them twice or more. batchSize=${count} trains on the same images in less time.`,
    );
  if (warmupSteps >= steps)
    found.push(
      `NOTE: the warm-up of ${warmupSteps} steps is not shorter than the run of ${steps}: the learning rate never comes to optimizer.learningRate=${learningRate}, but ends at ${((learningRate * steps) / Math.max(1, warmupSteps)).toPrecision(2)}.`,
    );
  if (checkpoints.every > steps)
    found.push(`NOTE: checkpoints.every=${checkpoints.every} is more than the ${steps} steps of the run: it is saved at its end only.`);
  if (secondsOnProcessor > DAY && data.kind === 'images' && (data.size ?? 0) >= LARGE)
    found.push(
      'NOTE: this takes more than a day on this machine; it is meant for a GPU. --preset images-64-small trains on pictures of 64 px in minutes to an hour on a processor.',
    );
  return found;
}
