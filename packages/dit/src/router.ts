/** The router of a model's blocks, made of its configuration. */
import { balanceLoss, type MoeOptions, tokenChoice } from '@dit-moe/moe';
import { sequenceBalanceLoss } from '@dit-moe/moe/losses';
import type { MoeConfig } from './config.js';

/** @param batch images in a batch */
export function routerOptions(config: MoeConfig, batch: number): MoeOptions {
  const { topK, groups, scoreFunction, normalizeTopK, weightScale, balanceOver = 'batch' } = config;
  return {
    selector: tokenChoice(topK, { groups }),
    scoreFunction,
    normalizeTopK,
    weightScale,
    losses: { balance: balanceOver === 'image' ? sequenceBalanceLoss(batch) : balanceLoss },
  };
}
