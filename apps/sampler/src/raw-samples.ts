/** Noise from a file and samples to one, for comparisons with other programs, number by number. */

import type { StepNoise } from '@dit-moe/diffusion';
import type { ModelCard } from '@dit-moe/dit';
import { UsageError } from '@dit-moe/kit';
import { SafetensorsFile, writeSafetensors } from '@dit-moe/tensor-ops/io/node';
import * as tf from '@tensorflow/tfjs-core';

/**
 * Noise of `start` `[N, C, h, w]` and, if it is there, `steps` `[S, N, C, h, w]`; the caller disposes of the start.
 * @throws UsageError if the file cannot be read or has other shapes
 */
export async function readNoise(file: string, { config }: ModelCard, images: number): Promise<{ start: tf.Tensor; steps?: StepNoise }> {
  const shape = [images, config.inChannels, ...config.inputSize];
  try {
    const source = await SafetensorsFile.open(file);
    try {
      const read = async (name: string, rank: number): Promise<{ shape: readonly number[]; data: Float32Array }> => {
        const tensor = await source.read(name);
        if (!(tensor.data instanceof Float32Array) || tensor.shape.length !== rank || tensor.shape.slice(rank - 4).join() !== shape.join())
          throw new Error(`"${name}" is ${tensor.dtype} [${tensor.shape}], expected float32 [${rank === 5 ? 'S, ' : ''}${shape}]`);
        return { shape: tensor.shape, data: tensor.data };
      };
      const { data } = await read('start', 4);
      const start = tf.tensor(data, shape);
      if (!source.names.includes('steps')) return { start };
      const steps = await read('steps', 5);
      const size = data.length;
      return {
        start,
        steps(step) {
          if (step >= steps.shape[0]) throw new UsageError(`--noise: ${file} has noise for ${steps.shape[0]} steps, more are taken.`);
          return tf.tensor(steps.data.subarray(step * size, (step + 1) * size), shape);
        },
      };
    } finally {
      await source.close();
    }
  } catch (cause) {
    throw new UsageError(`--noise: cannot use ${file}: ${(cause as Error).message}`);
  }
}

/** Writes the samples of all batches as the tensor `samples`. */
export async function writeRaw(file: string, shape: readonly number[], batches: readonly Float32Array[]): Promise<void> {
  const all = Buffer.concat(batches.map((batch) => new Uint8Array(batch.buffer, batch.byteOffset, batch.byteLength)));
  await writeSafetensors(file, [{ name: 'samples', dtype: 'F32', shape, bytes: () => new Uint8Array(all) }]);
}
