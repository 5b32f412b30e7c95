/** Writing an autoencoder as diffusers does: a folder with `config.json` and safetensors of current names. */
import path from 'node:path';
import { encodeTensor } from '@dit-moe/tensor-ops/io';
import { makeFolder, type WrittenFile, writeFileAtomically, writeSafetensors } from '@dit-moe/tensor-ops/io/node';
import * as tf from '@tensorflow/tfjs-core';
import { type AutoencoderConfig, configJson } from '../config.js';
import { type Part, weightShapes } from '../weight-names.js';
import type { AutoencoderWeights } from '../weights.js';

/** Writes float32 weights and configuration into `folder`, which is made; `openAutoencoder` and diffusers read it. */
export async function saveAutoencoder(folder: string, weights: AutoencoderWeights, config: AutoencoderConfig): Promise<void> {
  await makeFolder(folder);
  await saveWeights(path.join(folder, 'diffusion_pytorch_model.safetensors'), weights, config);
  await writeFileAtomically(path.join(folder, 'config.json'), `${JSON.stringify(configJson(config), null, 2)}\n`);
}

/**
 * Writes weights as one float32 safetensors file of current names and PyTorch's layouts, which `readAutoencoder` and diffusers read.
 * @param weights as {@link AutoencoderWeights} says; those of the `parts` at least
 * @param parts halves to write (default both)
 * @returns size and sha256 of the file
 */
export async function saveWeights(
  file: string,
  weights: AutoencoderWeights,
  config: AutoencoderConfig,
  parts?: readonly Part[],
): Promise<WrittenFile> {
  const tensors = [...weightShapes(config, parts)].map(([name, shape]) => ({
    name,
    dtype: 'F32' as const,
    shape,
    async bytes() {
      const weight = weights[name];
      const axes = weight.rank === 4 ? [3, 2, 0, 1] : weight.rank === 2 ? [1, 0] : [0];
      const ours = tf.transpose(weight, axes);
      try {
        return encodeTensor((await ours.data()) as Float32Array, 'F32');
      } finally {
        ours.dispose();
      }
    },
  }));
  return writeSafetensors(file, tensors, { format: 'pt' });
}
