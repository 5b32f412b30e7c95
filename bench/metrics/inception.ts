/** Our side of the metrics benchmark: the Inception network of FID with random weights. */
import { disposeInception, inceptionExtractor, loadInception } from '@dit-moe/metrics';
import { randomNormal } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { randomFilters } from '../../apps/trainer/src/selftest/sections/pictures.js';

/** Side of the pictures, as published FIDs of ImageNet 256 have. */
export const SIDE = 256;

/** Features of one batch of pictures, from bytes to host memory. */
export async function prepareInception(batch: number): Promise<{ step(): Promise<void>; dispose(): void }> {
  const weights = await loadInception(randomFilters());
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
