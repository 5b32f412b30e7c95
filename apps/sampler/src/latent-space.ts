/** Opens an autoencoder for models of latents. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { toPixels } from '@dit-moe/diffusion';
import { compile } from '@dit-moe/tensor-ops';
import { downloadFromHub, openCheckpoint } from '@dit-moe/tensor-ops/io/node';
import {
  autoencoderConfig,
  decodeLatents,
  downscale,
  encodeMoments,
  loadAutoencoder,
  posteriorOf,
  scaleLatents,
  unscaleLatents,
} from '@dit-moe/vae';
import * as tf from '@tensorflow/tfjs-core';
import { ModelError } from './errors.js';
import { type ImageSpace, latentPreview } from './image-space.js';

const FILES = ['config.json', 'diffusion_pytorch_model.safetensors'];

/**
 * An autoencoder from a folder with `config.json` and its weights, or from the Hugging Face hub by a name such as
 * `stabilityai/sd-vae-ft-ema`.
 * @param latentChannels what the model has
 * @throws ModelError if it is not there or does not fit
 */
export async function openLatentSpace(location: string, latentChannels: number): Promise<ImageSpace> {
  try {
    const local = (await fs.stat(location).catch(() => undefined))?.isDirectory() === true;
    const folder = local ? location : await downloadFromHub(location, FILES);
    const config = autoencoderConfig(JSON.parse(await fs.readFile(path.join(folder, FILES[0]!), 'utf8')));
    if (config.latentChannels !== latentChannels)
      throw new Error(`its latents have ${config.latentChannels} channels, the model's ${latentChannels}`);
    const file = await openCheckpoint(path.join(folder, FILES[1]!));
    const { weights } = await loadAutoencoder(file, config).finally(() => file.close());
    const decode = compile((z: tf.Tensor) => decodeLatents(weights, config, unscaleLatents(z, config)), { name: 'decoder' });
    const encode = compile((x: tf.Tensor) => scaleLatents(posteriorOf(encodeMoments(weights, config, x)).mean, config), {
      name: 'encoder',
    });
    return {
      scale: downscale(config),
      channels: config.outChannels,
      async decode(z) {
        const images = await decode.run(z);
        return toPixels(images).finally(() => images.dispose());
      },
      preview: latentPreview,
      encode: (images) => encode.run(images),
      dispose() {
        decode.dispose();
        encode.dispose();
        tf.dispose(weights as Record<string, tf.Tensor>);
      },
    };
  } catch (cause) {
    throw new ModelError(`Cannot open the autoencoder ${location}: ${(cause as Error).message}`, { cause });
  }
}
