/** What is allowed and yet most likely not meant. */
import type { TrainConfig } from './schema.js';

/** One sentence for each; said before a run, and in a dry run. */
export function remarks({ batchSize, steps, optimizer, checkpoints }: TrainConfig, data: { count: number }): string[] {
  const { warmupSteps, learningRate } = optimizer;
  const found: string[] = [];
  if (batchSize > data.count)
    found.push(
      `NOTE: the batch of ${batchSize} is larger than the data (${data.count} images): every image is in each batch, some of them twice or more. batchSize=${data.count} trains on the same images in less time.`,
    );
  if (warmupSteps >= steps)
    found.push(
      `NOTE: the warm-up of ${warmupSteps} steps is not shorter than the run of ${steps}: the learning rate never comes to optimizer.learningRate=${learningRate}, but ends at ${((learningRate * steps) / Math.max(1, warmupSteps)).toPrecision(2)}.`,
    );
  if (checkpoints.every > steps)
    found.push(`NOTE: checkpoints.every=${checkpoints.every} is more than the ${steps} steps of the run: it is saved at its end only.`);
  return found;
}
