/** A model of a few thousand weights, for tests. */
import fs from 'node:fs';
import path from 'node:path';
import { cardToMetadata, isThreshold, type ModelCard, weightSpecs } from '@dit-moe/dit';
import { randomNormal } from '@dit-moe/tensor-ops';
import { hashFile, MANIFEST, sealManifest, writeSafetensors } from '@dit-moe/tensor-ops/io/node';
import { autoencoderConfig, initialAutoencoderWeights } from '@dit-moe/vae';
import { openAutoencoder, saveAutoencoder } from '@dit-moe/vae/node';
import * as tf from '@tensorflow/tfjs-core';

export const tinyCard: ModelCard = {
  config: {
    inputSize: [4, 4],
    patchSize: 2,
    inChannels: 1,
    hiddenSize: 8,
    depth: 1,
    numHeads: 2,
    mlpRatio: 4,
    numClasses: 3,
    learnSigma: false,
    moe: { numExperts: 3, topK: 2, expertRatio: 1, sharedRatio: 1, balanceAlpha: 0.01 },
  },
  objective: 'flow',
  timeScale: 1000,
  classNames: ['ant', 'bee', 'cat'],
  step: 7,
};

/**
 * Writes random weights. They matter everywhere: initial ones would leave the blocks without influence.
 * @param prefix of the stored names, such as `ema.0.9999.`
 * @param without a weight to leave out
 */
export async function writeTinyModel(file: string, card = tinyCard, prefix = '', without?: string): Promise<void> {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const tensors = Object.entries(weightSpecs(card.config))
    .filter(([name]) => name !== without)
    .map(([name, { shape }]) => {
      const length = shape.reduce((a, b) => a * b, 1);
      // A threshold that has been estimated, wherever it is.
      const values = randomNormal({ seed: 3, purpose: name, index: 0 }, length).map((v) =>
        isThreshold(name) && length === 1 ? 1 : v * 0.3,
      );
      return { name: prefix + name, dtype: 'F32' as const, shape, bytes: () => new Uint8Array(values.buffer) };
    });
  await writeSafetensors(file, tensors, cardToMetadata(card));
}

/**
 * Writes a run folder whose newest checkpoint has averages and last weights.
 * @returns the checkpoint's folder
 */
export async function writeTinyRun(run: string, card = tinyCard): Promise<string> {
  const folder = path.join(run, 'checkpoints', 'step-7');
  fs.mkdirSync(path.join(run, 'checkpoints', 'step-5'), { recursive: true });
  await writeTinyModel(path.join(folder, 'ema.safetensors'), card, 'ema.0.9999.');
  await writeTinyModel(path.join(folder, 'weights.safetensors'), card);
  const files: Record<string, { bytes: number; sha256: string }> = {};
  for (const name of fs.readdirSync(folder)) {
    const file = path.join(folder, name);
    files[name] = { bytes: fs.statSync(file).size, sha256: await hashFile(file) };
  }
  fs.writeFileSync(path.join(folder, MANIFEST), JSON.stringify(sealManifest({ files })));
  return folder;
}

/** Writes an autoencoder with random weights, and scales of its own for each channel, into a folder, and `model` as a model of its latents. Needs a backend. */
export async function writeTinyLatentModel(model: string, autoencoderFolder: string): Promise<void> {
  const channels = { latents_mean: [0.1, -0.2, 0, 0.3], latents_std: [1, 1.5, 0.5, 2] };
  const config = autoencoderConfig({ block_out_channels: [8, 8], norm_num_groups: 4, scaling_factor: 0.5, ...channels });
  const weights = initialAutoencoderWeights(config, 1);
  await saveAutoencoder(autoencoderFolder, weights, config);
  tf.dispose(weights);
  const { autoencoder, encoderHash } = await openAutoencoder(autoencoderFolder);
  autoencoder.dispose();
  const { scalingFactor, shiftFactor, latentChannels: inChannels } = config;
  await writeTinyModel(model, {
    ...tinyCard,
    config: { ...tinyCard.config, inChannels },
    latents: { scalingFactor, shiftFactor, downsampling: 2, vae: encoderHash! },
  });
}
