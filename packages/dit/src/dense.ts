/** Dense models to compare one with experts with. */
import { ArgumentError } from '@dit-moe/tensor-ops';
import type { DitConfig } from './config.js';
import { describeModel } from './describe-model.js';

/**
 * - `matched`: SwiGLU layers as wide as a token's experts, shared expert and router cost together, so that active parameters and
 *   multiply-accumulates are those of the model with experts; with dense blocks among them, the mean over the blocks
 * - `plain`: the dense model of the same size, with the feed-forward layers of the configuration (`mlp`, `mlpRatio`)
 */
export type DenseKind = 'matched' | 'plain';

/**
 * The dense model that one with experts is compared with.
 * @throws ArgumentError for a model without experts
 */
export function denseOf(config: DitConfig, kind: DenseKind): DitConfig {
  if (config.moe === undefined) throw new ArgumentError('denseOf', 'a model with experts', 'a dense one');
  const { moe: _, ...plain } = config;
  if (kind === 'plain') return plain;
  const products = (mlpRatio: number): number => describeModel({ ...plain, mlp: 'swiglu', mlpRatio }).gmac.linear;
  // What a dense layer costs is linear in its width.
  const [one, two] = [products(1), products(2)];
  const ratio = 1 + (describeModel(config).gmac.linear - one) / (two - one);
  return { ...plain, mlp: 'swiglu', mlpRatio: Math.max(1, Math.round(ratio * config.hiddenSize)) / config.hiddenSize };
}
