/** The published sizes (DiT table 1, DiT-MoE table 1). */
import { ArgumentError } from '@dit-moe/tensor-ops';
import type { DitConfig } from './config.js';
import type { MoeConfig } from './moe/moe-config.js';

/** Depth, width and heads by size. */
export const presetSizes = {
  S: { depth: 12, hiddenSize: 384, numHeads: 6 },
  B: { depth: 12, hiddenSize: 768, numHeads: 12 },
  L: { depth: 24, hiddenSize: 1024, numHeads: 16 },
  XL: { depth: 28, hiddenSize: 1152, numHeads: 16 },
  G: { depth: 40, hiddenSize: 1408, numHeads: 16 },
} as const;

/**
 * Where paper and reference code disagree, a preset follows one of them: `repo` balances experts over the batch with weight 0.01,
 * `paper` within each image with weight 0.005 (section 3.2, equation 5). Both have SwiGLU experts and one shared expert of width
 * 2 D: the paper's text has GELU experts, but its table counts the parameters of these.
 */
export type Flavour = 'repo' | 'paper';

const balance: Record<Flavour, Pick<MoeConfig, 'balanceAlpha' | 'balanceOver'>> = {
  repo: { balanceAlpha: 0.01 },
  paper: { balanceAlpha: 0.005, balanceOver: 'image' },
};

const pattern = /^(S|B|L|XL|G)\/(2|4|8)(?:-(\d+)E(\d+)A)?$/;

/**
 * A configuration by its published name: `S/2` is a dense DiT, `S/2-8E2A` a DiT-MoE with 8 experts of which 2 are active.
 *
 * @param options `imageSize`: pixels per side, 8 per latent (default 256); `numClasses` (default 1000); `flavour` (default `repo`)
 * @throws ArgumentError for a name of another form
 */
export function preset(name: string, options: { imageSize?: number; numClasses?: number; flavour?: Flavour } = {}): DitConfig {
  const match = pattern.exec(name);
  if (match === null)
    throw new ArgumentError('preset', 'a name such as "S/2" or "XL/2-8E2A" (sizes S, B, L, XL, G; patches 2, 4, 8)', name);
  const [, size, patch, experts, active] = match;
  const { imageSize = 256, numClasses = 1000, flavour = 'repo' } = options;
  const moe: MoeConfig | undefined =
    experts === undefined
      ? undefined
      : { numExperts: Number(experts), topK: Number(active), expertRatio: 4, sharedRatio: 2, ...balance[flavour] };
  return {
    inputSize: [imageSize / 8, imageSize / 8],
    patchSize: Number(patch),
    inChannels: 4,
    ...presetSizes[size as keyof typeof presetSizes],
    mlpRatio: 4,
    numClasses,
    learnSigma: true,
    ...(moe === undefined ? {} : { moe }),
  };
}
