/** Named starting points: small ones for a laptop, and every published size as the paper and as its code train it. */
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { paperPresets } from './paper-presets.js';

/** The images in this package, seen from the source (`src/config`) or from what is built of it (`dist`). */
const digits = ['../../data/digits', '../data/digits']
  .map((at) => fileURLToPath(new URL(at, import.meta.url)))
  .find((at) => fs.existsSync(at));

const small = {
  digits: {
    data: { path: digits, channels: 1 },
    model: { patchSize: 2, hiddenSize: 64, depth: 4, numHeads: 4, moe: { numExperts: 8, topK: 2, expertRatio: 2, sharedRatio: 1 } },
    objective: { kind: 'flow', timeScale: 1000 },
    steps: 1500,
    batchSize: 128,
    optimizer: { learningRate: 1.5e-3, warmupSteps: 50, schedule: 'cosine', clipNorm: 1 },
    ema: [0.99],
    checkpoints: { every: 500 },
    sampling: { every: 500, steps: 25, guidance: 2 },
  },
  /** For the images of the command `shapes`; --data names them. */
  shapes: {
    data: { channels: 3, flip: true },
    model: { patchSize: 2, hiddenSize: 96, depth: 4, numHeads: 4, moe: { numExperts: 8, topK: 2, expertRatio: 2, sharedRatio: 1 } },
    objective: { kind: 'flow', timeScale: 1000 },
    steps: 3000,
    batchSize: 64,
    optimizer: { learningRate: 1.5e-3, warmupSteps: 100, schedule: 'cosine', clipNorm: 1 },
    ema: [0.99, 0.998],
    checkpoints: { every: 500 },
    sampling: { every: 500, steps: 25, guidance: 2 },
    evaluation: { every: 500, samples: 240 },
  },
};

const sizes = ['S/2-8E2A', 'S/2-16E2A', 'B/2-8E2A', 'L/2-8E2A', 'XL/2-8E2A', 'G/2-16E2A'];

/** Samples of a micro-batch by size, for A100s of 80 GB. XL and G do not fit one of them at all: `dit-moe-trainer plan` says why. */
const microBatch: Record<string, number> = { S: 128, B: 64, L: 16, XL: 8, G: 4 };

/**
 * The paper (section 3.1): batch 1024, balance loss 0.005 within each image, DDPM with learned sigma.
 * The code (train.py): batch 64, balance loss 0.01 over the micro-batch.
 *
 * XL and G are what was published, in both: with normalised queries and keys (train_deepspeed.py, which trains these sizes; sample.py reads no
 * others) and as rectified flows with a second half of channels that is not used (the README's list of weights, sample.py).
 */
function published(name: string, imageSize: number, flavour: 'paper' | 'repo') {
  const batchSize = flavour === 'paper' ? 1024 : 64;
  const [numExperts, topK] = /(\d+)E(\d+)A/.exec(name)!.slice(1).map(Number);
  const isLarge = /^(XL|G)/.test(name);
  const tokens = (imageSize / 256) ** 2;
  const micro = Math.min(batchSize, Math.max(1, microBatch[name.split('/')[0]] / tokens));
  return {
    data: { kind: 'latents', size: imageSize, flip: true },
    model: {
      preset: name,
      ...(isLarge && { qkNorm: true }),
      moe: { numExperts, topK, ...(flavour === 'paper' ? { balanceAlpha: 0.005, balanceOver: 'image' } : { balanceAlpha: 0.01 }) },
    },
    objective: { kind: isLarge ? 'flow' : 'ddpm', learnSigma: true },
    steps: 500_000,
    batchSize,
    accumulation: batchSize / micro,
    precision: 'bf16',
    recompute: isLarge,
    checkpoints: { milestoneEvery: 50_000 },
    // Previews of 250 ancestral steps would take five times as long.
    sampling: { ...(!isLarge && { solver: 'ddim' }), steps: 50, guidance: 4 },
  };
}

/** Presets by name, such as `digits` or `paper-xl-2-8e2a-256`. */
export const presets: Readonly<Record<string, object>> = {
  ...small,
  ...paperPresets(small.digits),
  ...Object.fromEntries(
    (['paper', 'repo'] as const).flatMap((flavour) =>
      sizes.flatMap((name) =>
        [256, 512].map((imageSize) => [
          `${flavour}-${name.toLowerCase().replace('/', '-')}-${imageSize}`,
          published(name, imageSize, flavour),
        ]),
      ),
    ),
  ),
};
