/** In a browser page: fetches an autoencoder, a folder as diffusers has it, decodes latents and shows the picture. */
import { fetchCheckpoint } from '@dit-moe/tensor-ops/io';
import { Autoencoder, autoencoderConfig, loadAutoencoder } from '@dit-moe/vae';
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';

const config = autoencoderConfig(await (await fetch('vae/config.json')).json());
const { weights } = await loadAutoencoder(await fetchCheckpoint('vae/diffusion_pytorch_model.safetensors'), config, ['decoder']);
const decoder = new Autoencoder(weights, config);
const { data, width, height } = await decoder.decodeToPixels(tf.randomNormal([1, config.latentChannels, 4, 4]));
const picture = new ImageData(width, height);
for (let i = 0; i < width * height; i++) picture.data.set([...data.subarray(3 * i, 3 * i + 3), 255], 4 * i);
const canvas = Object.assign(document.createElement('canvas'), { width, height });
canvas.getContext('2d')?.putImageData(picture, 0, 0);
document.body.append(canvas);
