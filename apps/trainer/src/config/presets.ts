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
  /** For what `dataset fashion-mnist` writes; --data names it. */
  fashion: {
    data: { split: 'train', channels: 1 },
    model: { patchSize: 4, hiddenSize: 64, depth: 5, numHeads: 4, moe: { numExperts: 8, topK: 2, expertRatio: 1, sharedRatio: 1 } },
    objective: { kind: 'flow', timeScale: 1000 },
    steps: 2000,
    batchSize: 64,
    optimizer: { learningRate: 2e-3, warmupSteps: 100, schedule: 'cosine', clipNorm: 1 },
    ema: [0.99],
    checkpoints: { every: 250 },
    sampling: { every: 500, steps: 25, guidance: 3 },
  },
  /** For what `dataset emoji` writes, at half its size; --data names it. The clean image is predicted, as JiT does (below). */
  emoji: {
    data: { split: 'train', size: 32, channels: 3 },
    model: { patchSize: 4, hiddenSize: 96, depth: 4, numHeads: 4, moe: { numExperts: 8, topK: 2, expertRatio: 0.75, sharedRatio: 1 } },
    objective: {
      ...{ kind: 'flow', timeScale: 1000, prediction: 'start', weighting: 'velocity', timeFloor: 0.05 },
      times: { mean: 0.8, deviation: 0.8 },
    },
    steps: 2500,
    batchSize: 32,
    optimizer: { learningRate: 1.5e-3, warmupSteps: 100, schedule: 'cosine', clipNorm: 1 },
    ema: [0.99],
    checkpoints: { every: 250 },
    sampling: { every: 500, steps: 25, guidance: 3, solver: 'heun' },
  },
};

/**
 * "Back to Basics: Let Denoising Generative Models Denoise" (JiT), arXiv 2511.13720: the clean image is predicted, in pixels, without an autoencoder.
 * The numbers are those of JiT-B/16 for 256 pixels as yhlleo/EfficientMoE at 49f47d2 runs it, JiTMoE/model_jit.py, engine_jit.py and
 * train_jit_b16_e16.sh. There t goes from noise to data, here from data to noise.
 */
const jitObjective = {
  kind: 'flow',
  prediction: 'start', // the network gives the image
  weighting: 'velocity', // the loss is that of the velocity which follows
  timeFloor: 0.05, // --t_eps 5e-2
  times: { mean: 0.8, deviation: 0.8 }, // --P_mean -0.8 of its time, --P_std 0.8
  timeScale: 1,
};
const jitModel = {
  norm: 'rms', // RMSNorm
  qkNorm: true, // of queries and keys, too
  rotary: true, // over rows and columns
  mlp: 'swiglu-bias', // SwiGLUFFN, with biases
  mlpRatio: 8 / 3, // of two thirds of 4 D
};
const jit = {
  jit: {
    data: { size: 256, flip: true },
    model: {
      patchSize: 16, // B/16
      ...{ depth: 12, hiddenSize: 768, numHeads: 12 }, // the size B
      patchBottleneck: 128, // bottleneck_dim
      classTokens: { count: 32, from: 4 }, // in_context_len, in_context_start
      ...jitModel,
    },
    objective: jitObjective,
    steps: 250_000, // 200 epochs of ImageNet
    batchSize: 1024, // --batch_size 128 on each of 8
    optimizer: { learningRate: 2e-4, warmupSteps: 6_250 }, // --blr 5e-5 of 256 images, --warmup_epochs 5
    precision: 'bf16',
    checkpoints: { milestoneEvery: 50_000 },
    sampling: { solver: 'heun', steps: 50, guidance: 2.9 }, // --cfg 2.9; between 0 and 0.9 of our time, its --interval_min 0.1
  },
  // On the digits a patch of 4 x 4 has 16 numbers: half of them through the bottleneck. As many class tokens as patches, in the last three blocks.
  'digits-jit': {
    ...small.digits,
    model: { ...small.digits.model, moe: undefined, patchSize: 4, patchBottleneck: 8, classTokens: { count: 4, from: 1 }, ...jitModel },
    objective: jitObjective,
  },
};

/**
 * For a person's own images: hundreds to some ten thousand, in pixels, so that no autoencoder is needed. Patches grow with the picture, so a
 * picture is 256 tokens at every size, as JiT has it. The numbers are ours: a model that a small set does not let overfit at once.
 */
const images = (size: number, patchSize: number, width: { hiddenSize: number; depth: number; numHeads: number }) => ({
  data: { size, flip: true },
  model: {
    patchSize,
    ...(patchSize > 8 && { patchBottleneck: 128 }), // of 768 numbers, as JiT
    ...width,
    ...jitModel,
    // Two experts and the shared one together are as wide as a dense layer.
    moe: { numExperts: 8, topK: 2, expertRatio: 1, sharedRatio: 1 },
  },
  objective: jitObjective,
  steps: 20_000,
  batchSize: 64,
  optimizer: { learningRate: 2e-4, warmupSteps: 1_000, clipNorm: 1 },
  ema: [0.999, 0.9999], // the shorter one is previewed: with few steps the longer one lags behind
  precision: 'bf16',
  checkpoints: { every: 2_000 },
  sampling: { every: 2_000, solver: 'heun', steps: 25, guidance: 2 },
  validation: { share: 0.05, every: 1_000 },
});
const small64 = images(64, 8, { hiddenSize: 192, depth: 4, numHeads: 6 });
const own = {
  /** For a processor: patches of 8, so a picture is 64 tokens, and a fifth of the weights of `images-64`. */
  'images-64-small': {
    ...small64,
    steps: 2_000,
    batchSize: 32,
    optimizer: { learningRate: 1.5e-3, warmupSteps: 100, schedule: 'cosine', clipNorm: 1 },
    ema: [0.99],
    precision: 'f32', // processors gain nothing from bf16
    checkpoints: { every: 250 },
    sampling: { ...small64.sampling, every: 250 },
    validation: { ...small64.validation, every: 250 },
  },
  'images-64': images(64, 4, { hiddenSize: 256, depth: 8, numHeads: 4 }),
  'images-128': images(128, 8, { hiddenSize: 384, depth: 10, numHeads: 6 }),
  'images-256': images(256, 16, { hiddenSize: 512, depth: 12, numHeads: 8 }),
};

const sizes = ['S/2-8E2A', 'S/2-16E2A', 'B/2-8E2A', 'L/2-8E2A', 'XL/2-8E2A', 'G/2-16E2A'];

/** Samples of a micro-batch by size, for A100s of 80 GB. XL and G do not fit one of them at all: `dit-moe-trainer plan` says why. */
const microBatch: Record<string, number> = { S: 128, B: 64, L: 16, XL: 8, G: 4 };

/**
 * DiT-MoE as its paper trains it (arXiv 2407.11633), and as its code does (feizc/DiT-MoE at bd34bbb): what every size has.
 * The page of presets shows these lines with the comments beside them.
 */
const flavours = {
  paper: {
    data: {
      kind: 'latents', // section 3.1: ImageNet in the latent space of Stable Diffusion's autoencoder
      flip: true, // section 3.1: horizontal flips, no other augmentation
    },
    model: {
      moe: {
        balanceAlpha: 0.005, // the best of 0.5, 0.05, 0.01 and 0.005
        balanceOver: 'image', // equation 5 sums over the tokens of a sequence
      },
    },
    labelDropout: 0.1, // as DiT
    steps: 500_000, // section 3.1: the first of 500K, 1M and 7M iterations; which size got which is not said
    batchSize: 1024, // section 3.1
    optimizer: {
      learningRate: 1e-4, // section 3.1: AdamW, constant
      weightDecay: 0, // section 3.1: none
    },
    ema: [0.9999], // section 3.1
    precision: 'bf16', // ours
    checkpoints: { milestoneEvery: 50_000 }, // ours
    sampling: {
      steps: 50, // ours, for previews; FID-50K is taken with 250 steps of DDPM
      guidance: 4, // ours, for previews; the scale of its tables is not said
    },
  },
  repo: {
    data: {
      kind: 'latents', // train.py encodes every batch anew; here the moments are encoded once
      flip: true, // train.py: RandomHorizontalFlip
    },
    model: {
      moe: {
        balanceAlpha: 0.01, // models.py: aux_loss_alpha=0.01
        balanceOver: 'batch', // models.py: seq_aux = False: over the micro-batch
      },
    },
    labelDropout: 0.1, // models.py: class_dropout_prob=0.1
    steps: 500_000, // ours, as the paper; --epochs 1400 is 28 million steps of this batch
    batchSize: 64, // train.py: --global-batch-size 64
    optimizer: {
      learningRate: 1e-4, // train.py: lr=1e-4
      weightDecay: 0, // train.py: weight_decay=0
    },
    ema: [0.9999], // train.py: decay=0.9999; train_deepspeed.py keeps no average
    precision: 'bf16', // ours; train.py lets products be TensorFloat-32
    checkpoints: { milestoneEvery: 50_000 }, // train.py: --ckpt-every 50_000
    sampling: {
      steps: 50, // of rectified flows, as sample.py; of the others ours, for previews, instead of its 250
      guidance: 4, // sample.py: --cfg-scale 4.0; rectified flows it samples with 7
    },
  },
} as const;

/** What differs by size, in both flavours: XL and G are what was published. */
const bySize = {
  small: {
    objective: {
      kind: 'ddpm', // as DiT; train.py without --rf
      learnSigma: true, // as DiT
    },
    recompute: false, // ours
    sampling: { solver: 'ddim' }, // ours: previews of 250 ancestral steps would take five times as long
  },
  large: {
    model: { qkNorm: true }, // train_deepspeed.py, which trains these sizes, and sample.py, which reads no others
    objective: {
      kind: 'flow', // the README's list of weights, and sample.py
      learnSigma: true, // a second half of channels that is not used
    },
    recompute: true, // ours, for memory
  },
} as const;

/** A published size on images of `imageSize` pixels. */
function published(name: string, imageSize: number, flavour: keyof typeof flavours) {
  const { data, model, sampling, ...common } = flavours[flavour];
  const [numExperts, topK] = /(\d+)E(\d+)A/.exec(name)!.slice(1).map(Number);
  const {
    model: ofModel,
    sampling: ofSampling,
    ...size
  } = { model: {}, sampling: {}, ...bySize[/^(XL|G)/.test(name) ? 'large' : 'small'] };
  const tokens = (imageSize / 256) ** 2;
  const micro = Math.min(common.batchSize, Math.max(1, microBatch[name.split('/')[0]] / tokens));
  return {
    ...common,
    ...size,
    data: { ...data, size: imageSize },
    model: { preset: name, ...ofModel, moe: { numExperts, topK, ...model.moe } },
    accumulation: common.batchSize / micro,
    sampling: { ...ofSampling, ...sampling },
  };
}

/** Presets by name, such as `digits` or `paper-xl-2-8e2a-256`. */
export const presets: Readonly<Record<string, object>> = {
  ...small,
  ...paperPresets(small.digits),
  ...jit,
  ...own,
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
