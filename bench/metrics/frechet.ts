/** Our side of the Frechet benchmark: moments of rectified normal features, as dense as those of Inception. */
import { features, frechetDistance, momentsOf } from '@dit-moe/metrics';
import { randomNormal } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs';

export const DIMENSION = 2048;

/** A distance from given moments, on the runtime and without it. */
export function prepareFrechet(): { onRuntime(): void; inTypeScript(): Promise<void> } {
  const [a, b] = [0, 0.1].map((shift, index) => {
    const values = randomNormal({ seed: 1, purpose: 'features', index }, DIMENSION * (DIMENSION + DIMENSION / 2));
    return momentsOf(
      features(
        values.map((v) => Math.max(0, v + shift)),
        DIMENSION,
      ),
    );
  });
  const onRuntime = (): void => void frechetDistance(a, b);
  return {
    onRuntime,
    async inTypeScript() {
      const backend = tf.getBackend();
      await tf.setBackend('cpu');
      onRuntime();
      await tf.setBackend(backend);
    },
  };
}
