/** The networks beside the model: an autoencoder of Stable Diffusion's architecture, and the Inception network of FID with random weights. */
import { disposeInception, inceptionExtractor, inceptionShapes, loadInception } from '@dit-moe/metrics';
import { randomNormal } from '@dit-moe/tensor-ops';
import type { WeightSource } from '@dit-moe/tensor-ops/io';
import { autoencoderConfig, decodeLatents, encodeMoments, initialAutoencoderWeights } from '@dit-moe/vae';
import * as tf from '@tensorflow/tfjs-core';
import { compare, type Multiplies, type Numbers, toHost } from '../compare.js';
import type { Finding } from '../finding.js';
import { normal } from '../small-model.js';

export const autoencoder = async (multiplies: Multiplies): Promise<Finding[]> => [
  await compare('encoder and decoder', multiplies, async () => {
    const config = autoencoderConfig({ blockOutChannels: [32, 64], latentChannels: 4 });
    const weights = initialAutoencoderWeights(config, 0);
    const [images, latents] = [normal('images', [1, 3, 32, 32]), normal('latents', [1, 4, 16, 16])];
    const results = tf.tidy(() => ({ moments: encodeMoments(weights, config, images), pictures: decodeLatents(weights, config, latents) }));
    tf.dispose([images, latents, weights]);
    return toHost(results);
  }),
];

export const inceptionNetwork = async (multiplies: Multiplies): Promise<Finding[]> => [
  // 11 GFLOP per image, which plain JavaScript would need minutes for.
  await compare('features of an image', multiplies, features, 'wasm'),
];

async function features(): Promise<Numbers> {
  const weights = await loadInception(randomFilters());
  const extractor = inceptionExtractor(weights);
  const image = normal('image', [1, 64, 64, 3], 40) as tf.Tensor4D;
  const { pool, logits } = await extractor.extract(image);
  const numbers = await toHost({ pool, logits });
  image.dispose();
  extractor.dispose();
  disposeInception(weights);
  return numbers;
}

/** Filters that keep the size of activations, batch norms that do nothing. */
export function randomFilters(): WeightSource {
  const shapes = inceptionShapes();
  return {
    names: [...shapes.keys()],
    info: (name) => ({ dtype: 'F32', shape: shapes.get(name)! }),
    async read(name) {
      const shape = [...shapes.get(name)!];
      const size = tf.util.sizeFromShape(shape);
      if (shape.length === 1)
        return { dtype: 'F32', shape, data: new Float32Array(size).fill(/bn.(weight|running_var)$/.test(name) ? 1 : 0) };
      const scale = Math.sqrt((2 * shape[0]) / size);
      return { dtype: 'F32', shape, data: randomNormal({ seed: 1, purpose: name, index: 0 }, size).map((v) => v * scale) };
    },
  };
}
