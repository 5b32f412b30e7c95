/** Features by several processes: each computes those of its part of a batch, and all get all. */
import { ArgumentError, type Collectives, compile } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { FeatureExtractor } from './feature-extractor.js';

/** How batches are shared out. */
export interface SharedExtractorOptions {
  /** The processes, all of which give the same batches. */
  collectives: Collectives;
  /** Images that each computes at once. */
  batch: number;
  /** Runs what waits for the others, such as `Cluster.guard` (default: as it is). */
  guard?: (run: () => Promise<tf.Tensor>) => Promise<tf.Tensor>;
}

/**
 * Shares batches of up to `batch` times the number of processes out. Each computes the batches that one process would, so that the
 * features have the same bits.
 */
export function sharedExtractor<Name extends string>(
  { description, extract }: FeatureExtractor<Name>,
  { collectives, batch, guard = (run) => run() }: SharedExtractorOptions,
): FeatureExtractor<Name> {
  const { rank, size } = collectives;
  const gather = compile((own: tf.Tensor) => collectives.allGather(own), { name: 'gather_features' });
  return {
    description,
    async extract(images) {
      const [count] = images.shape;
      if (count > batch * size) throw new ArgumentError('sharedExtractor', `at most ${batch * size} images`, count);
      const from = rank * batch;
      const own = Math.min(batch, count - from);
      // Who has none computes one that the first has too: the others wait for rows of the same length.
      const part = own > 0 ? tf.slice(images, from, own) : tf.slice(images, 0, 1);
      const features = {} as Record<Name, tf.Tensor2D>;
      try {
        for (const [name, rows] of Object.entries(await extract(part)) as [Name, tf.Tensor2D][]) {
          const padded = tf.pad(rows, [
            [0, batch - rows.shape[0]],
            [0, 0],
          ]);
          const all = await guard(() => gather.run(padded));
          features[name] = tf.slice(all, 0, count) as tf.Tensor2D;
          tf.dispose([rows, padded, all]);
        }
        return features;
      } catch (error) {
        tf.dispose(features as Record<string, tf.Tensor>);
        throw error;
      } finally {
        part.dispose();
      }
    },
    dispose: () => gather.dispose(),
  };
}
