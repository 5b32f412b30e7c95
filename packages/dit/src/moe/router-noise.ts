import { type RouterNoise, routerNoise } from '@dit-moe/moe';
import type { RandomBatch } from '@dit-moe/tensor-ops';
import { type DitConfig, ditSizes } from '../config.js';
import { expertLayers } from './moe-config.js';

/** Shapes of the noise of one block with experts for a sample: of its input, of its logits. */
export interface RouterNoiseShapes {
  jitter?: [tokens: number, width: number];
  gate?: [tokens: number, numExperts: number];
}

/** What of the configuration's noise a block with experts gets. */
export function routerNoiseShapes(config: DitConfig): RouterNoiseShapes {
  const { noise = {}, routerInput, numExperts } = config.moe ?? { numExperts: 0 };
  const { tokens } = ditSizes(config);
  const width = routerInput === 'unmodulated+time' ? 2 * config.hiddenSize : config.hiddenSize;
  return {
    ...(noise.jitter !== undefined && { jitter: [tokens, width] }),
    ...(noise.gate !== undefined && { gate: [tokens, numExperts] }),
  };
}

/**
 * Draws the noise of all routers for a training step: for each block with experts in order; none without noise in the configuration. A
 * sample keeps its noise in any batch.
 * @param batch seed and global sample indices
 */
export function drawRouterNoise(config: DitConfig, { seed, indices }: Pick<RandomBatch, 'seed' | 'indices'>): RouterNoise[] {
  const { jitter: amount, gate: std } = config.moe?.noise ?? {};
  const { jitter, gate } = routerNoiseShapes(config);
  if (jitter === undefined && gate === undefined) return [];
  return expertLayers(config).map((layer) =>
    routerNoise({ seed, purpose: `router.${layer}`, indices }, ditSizes(config).tokens, {
      ...(jitter && { jitter: { amount: amount!, width: jitter[1] } }),
      ...(gate && { gate: { std: std!, numExperts: gate[1] } }),
    }),
  );
}
