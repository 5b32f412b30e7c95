/** From what a model makes to pictures: pixels as they are, latents through their autoencoder or, without it, in false colours. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { type Pixels, toPixels } from '@dit-moe/diffusion';
import type { ModelCard } from '@dit-moe/dit';
import { compile } from '@dit-moe/tensor-ops';
import { openCheckpoint } from '@dit-moe/tensor-ops/io/node';
import { autoencoderConfig, decodeLatents, loadAutoencoder, unscaleLatents } from '@dit-moe/vae';
import * as tf from '@tensorflow/tfjs-core';
import { DataError } from '../errors.js';

export interface Decoder {
  /** @param x `[B, C, H, W]`; not disposed */
  decode(x: tf.Tensor): Promise<Pixels>;
  /** Whether the pictures are what the images looked like, so that they can be compared with real ones. */
  readonly faithful: boolean;
  dispose(): void;
}

/**
 * The decoder for a model's samples.
 * @param vae folder with the autoencoder's `config.json` and weights
 * @throws DataError if the autoencoder cannot be read or has other latents
 */
export async function openDecoder(card: ModelCard, vae: string | undefined): Promise<Decoder> {
  if (card.latents === undefined) return { decode: toPixels, faithful: true, dispose() {} };
  if (vae === undefined) return { decode: falseColours, faithful: false, dispose() {} };
  try {
    const config = autoencoderConfig(JSON.parse(await fs.readFile(path.join(vae, 'config.json'), 'utf8')));
    if (config.latentChannels !== card.config.inChannels)
      throw new Error(`its latents have ${config.latentChannels} channels, the model's ${card.config.inChannels}`);
    const file = await openCheckpoint(vae);
    const { weights } = await loadAutoencoder(file, config, ['decoder']).finally(() => file.close());
    // The scale is that of the cache, which the model has learnt.
    const space = { ...config, scalingFactor: card.latents.scalingFactor, shiftFactor: card.latents.shiftFactor };
    const step = compile((z: tf.Tensor) => decodeLatents(weights, config, unscaleLatents(z, space)), { name: 'decoder' });
    return {
      faithful: true,
      async decode(x) {
        const images = await step.run(x);
        return toPixels(images).finally(() => images.dispose());
      },
      dispose() {
        step.dispose();
        tf.dispose(weights as Record<string, tf.Tensor>);
      },
    };
  } catch (cause) {
    throw new DataError(`Cannot open the autoencoder ${vae} (sampling.vae): ${(cause as Error).message}`, { cause });
  }
}

/** The first three channels (or the first) as colours, two standard deviations to each side. */
async function falseColours(x: tf.Tensor): Promise<Pixels> {
  const shown = tf.tidy(() => tf.div(tf.slice(x, [0, 0, 0, 0], [-1, x.shape[1]! >= 3 ? 3 : 1, -1, -1]), 2));
  return toPixels(shown).finally(() => shown.dispose());
}
