/** Our side of the metrics benchmark: the Inception network of FID with random weights. */
import { disposeInception, inceptionExtractor, inceptionShapes, loadInception } from '@dit-moe/metrics';
import { randomNormal } from '@dit-moe/tensor-ops';
import type { WeightSource } from '@dit-moe/tensor-ops/io';
import * as tf from '@tensorflow/tfjs-core';

/** Side of the pictures, as published FIDs of ImageNet 256 have. */
export const SIDE = 256;

/** Features of one batch of pictures, from bytes to host memory. */
export async function prepareInception(batch: number): Promise<{ step(): Promise<void>; dispose(): void }> {
  const weights = await loadInception(randomWeights());
  const extractor = inceptionExtractor(weights);
  const pixels = randomNormal({ seed: 1, purpose: 'pixels', index: 0 }, batch * SIDE * SIDE * 3).map((v) => 128 + 40 * v);
  const images = tf.tensor4d(Uint8ClampedArray.from(pixels) as unknown as Uint8Array, [batch, SIDE, SIDE, 3], 'int32');
  return {
    async step() {
      const outputs = await extractor.extract(images);
      for (const output of Object.values(outputs)) {
        await output.data();
        output.dispose();
      }
    },
    dispose() {
      images.dispose();
      extractor.dispose();
      disposeInception(weights);
    },
  };
}

/** Filters that keep the size of activations, batch norms that do nothing. */
function randomWeights(): WeightSource {
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
