/** Our side of the autoencoder benchmark: Stable Diffusion's architecture with random weights. */
import { type Precision, randomNormal } from '@dit-moe/tensor-ops';
import { Autoencoder, type AutoencoderWeights, type Part, stableDiffusionConfig, weightShapes } from '@dit-moe/vae';
import * as tf from '@tensorflow/tfjs-core';

export type Half = 'encode' | 'decode';

export interface PreparedAutoencoder {
  /** What is computed in on this machine. */
  precision: Precision;
  step(): Promise<void>;
  dispose(): void;
}

/** One pass over `batch` pictures of `size` pixels. */
export function prepareAutoencoder(half: Half, size: number, batch: number, precision: Precision): PreparedAutoencoder {
  const part: Part = half === 'encode' ? 'encoder' : 'decoder';
  const autoencoder = new Autoencoder(randomWeights(part), stableDiffusionConfig, { precision, memoryBudget: 2 ** 36 });
  const shape = half === 'encode' ? [batch, 3, size, size] : [batch, 4, size / 8, size / 8];
  const x = tf.tensor(randomNormal({ seed: 1, purpose: 'input', index: 0 }, tf.util.sizeFromShape(shape)), shape);
  return {
    precision: autoencoder.precision,
    async step() {
      const y = await (half === 'encode' ? autoencoder.encode(x) : autoencoder.decode(x));
      // Read, so that nothing can be left for later.
      await y.data();
      y.dispose();
    },
    dispose() {
      x.dispose();
      autoencoder.dispose();
    },
  };
}

/** As PyTorch initialises them, about: outputs of every layer stay near one. */
export function randomWeights(part: Part): AutoencoderWeights {
  const weights: Record<string, tf.Tensor> = {};
  for (const [name, shape] of weightShapes(stableDiffusionConfig, [part])) {
    const size = shape.reduce((a, b) => a * b, 1);
    const normal = (scale: number) => randomNormal({ seed: 1, purpose: name, index: 0 }, size).map((v) => v * scale);
    if (shape.length === 1) weights[name] = tf.tensor(/norm.*weight$/.test(name) ? new Float32Array(size).fill(1) : normal(0.01), [size]);
    else {
      const layout = shape.length === 4 ? [shape[2], shape[3], shape[1], shape[0]] : [shape[1], shape[0]];
      weights[name] = tf.tensor(normal(Math.sqrt(shape[0] / size)), layout);
    }
  }
  return weights;
}
