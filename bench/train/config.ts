import type { Precision } from '@dit-moe/tensor-ops';
import { resolveConfig } from '../../apps/trainer/src/config/resolve.js';
import type { TrainConfig } from '../../apps/trainer/src/config/schema.js';

export const BATCH = 4;

/**
 * DiT-MoE-S/2-8E2A by rectified flow on 256 px latents.
 * @param depth blocks (default: all 12)
 */
export const latentsConfig = (latents: string, precision: Precision, depth = 12, ...overrides: string[]): TrainConfig =>
  resolveConfig({
    preset: 'repo-s-2-8e2a-256',
    data: latents,
    overrides: [
      ...[
        'objective.kind=flow',
        'data.flip=false',
        `model.depth=${depth}`,
        `batchSize=${BATCH}`,
        'accumulation=1',
        `precision=${precision}`,
      ],
      ...overrides,
    ],
  });
