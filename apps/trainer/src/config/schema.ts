/** Everything that determines a run, as one validated object. Texts given to `describe` reach editors through the JSON schema. */
import { type SolverName, solvers } from '@dit-moe/diffusion';
import { z } from 'zod';

const positive = z.number().int().positive();
const nonnegative = z.number().int().nonnegative();
const share = z.number().min(0).max(1);

const data = z.strictObject({
  kind: z
    .enum(['images', 'latents'])
    .default('images')
    .describe('images: a folder per class, WebDataset tar shards or parquet files; latents: what `encode` wrote'),
  path: z.string().optional().describe('file or folder; --data sets it'),
  size: positive.optional().describe('height and width in pixels (default: those of the first image); latents have their own'),
  channels: z
    .union([z.literal(1), z.literal(3)])
    .default(3)
    .describe('1 (grey) or 3 (RGB); latents have their own'),
  flip: z.boolean().default(false).describe('mirror half of the images'),
  memory: nonnegative.default(2048).describe('MiB of decoded images kept in memory; a larger set is decoded again in every epoch'),
  prefetch: positive.default(2).describe('batches prepared ahead of the step'),
  maxUnreadable: share.default(0.01).describe('share of images that may be unreadable before the run refuses to start'),
});

const moe = z.strictObject({
  numExperts: positive,
  topK: positive,
  expertRatio: z.number().positive().default(4).describe('hidden width of a routed expert as a multiple of hiddenSize'),
  sharedRatio: z.number().nonnegative().default(2).describe('hidden width of the shared expert as a multiple of hiddenSize; 0 for none'),
  balanceAlpha: z.number().nonnegative().default(0.01).describe('weight of the balance loss (0.005 in the paper, 0.01 in its code)'),
  layers: z
    .union([z.enum(['all', 'deepHalf', 'shallowHalf']), z.strictObject({ every: positive }), z.array(nonnegative).min(1)])
    .optional()
    .describe('blocks with experts; the others are dense (default all)'),
  scoreFunction: z.enum(['softmax', 'sigmoid', 'identity']).optional(),
  experts: z.enum(['swiglu', 'gelu']).optional(),
  normalizeTopK: z.boolean().optional().describe('divide the weights of a token by their sum (default false, as DiT-MoE)'),
  weightScale: z.number().positive().optional(),
  balanceOver: z.enum(['batch', 'image']).default('batch').describe('balance over the tokens of the micro-batch, or within each image'),
});

const model = z.strictObject({
  preset: z.string().optional().describe('a published size such as S/2-8E2A; the other fields override it'),
  patchSize: positive.optional(),
  hiddenSize: positive.optional(),
  depth: positive.optional(),
  numHeads: positive.optional(),
  mlpRatio: z.number().positive().optional(),
  qkNorm: z.boolean().optional(),
  norm: z.enum(['layer', 'rms']).optional(),
  rotary: z.boolean().optional(),
  mlp: z.enum(['gelu', 'swiglu']).optional(),
  moe: moe.optional(),
});

const learnSigma = z.boolean().optional();
const flow = z.strictObject({
  kind: z.literal('flow').describe('flow matching; the defaults are the rectified flow of DiT-MoE'),
  timeScale: z.number().positive().default(1).describe('the model sees t in [0, 1] times this (1 in the reference)'),
  learnSigma: learnSigma.describe(
    'twice the output channels, of which the second half is not used, as published flow models (default false)',
  ),
  path: z.enum(['linear', 'gvp', 'vp']).optional(),
  prediction: z.enum(['velocity', 'noise', 'score', 'start']).optional(),
  weighting: z.enum(['none', 'velocity', 'likelihood']).optional().describe('of the error of noise and score models'),
  cosine: z.number().nonnegative().optional().describe('weight of the cosine of the velocity (LightningDiT: 1)'),
  contrast: z.number().nonnegative().optional().describe('weight of contrastive flow matching (0.05 in its paper)'),
  times: z
    .strictObject({
      distribution: z.enum(['logit-normal', 'uniform']).optional(),
      mean: z.number().optional(),
      deviation: z.number().positive().optional(),
      shift: z.number().positive().optional().describe('above 1: noisier times, for larger images'),
    })
    .optional()
    .describe('how times are drawn (default: logit-normal)'),
});
const ddpm = z.strictObject({
  kind: z.literal('ddpm').describe("Gaussian diffusion; the defaults are DiT's"),
  learnSigma: learnSigma.describe('learn the variance in a second half of output channels (default true)'),
  schedule: z.enum(['linear', 'cosine', 'squaredcos_cap_v2']).optional(),
  steps: positive.optional().describe('default 1000'),
  prediction: z.enum(['noise', 'start', 'v']).optional().describe('default noise'),
  loss: z.enum(['mse', 'rescaled-mse', 'kl', 'rescaled-kl']).optional(),
  minSnr: z.number().positive().optional().describe("limit of the weight of nearly clean samples (min-SNR; its paper's is 5)"),
  timesteps: z
    .enum(['uniform', 'loss-second-moment'])
    .optional()
    .describe('loss-second-moment: timesteps of large losses are drawn more often and weigh less (default uniform)'),
});
const objective = z.discriminatedUnion('kind', [flow, ddpm]);

const optimizer = z.strictObject({
  learningRate: z.number().positive().default(1e-4),
  warmupSteps: nonnegative.default(0).describe('linear rise from 0'),
  schedule: z
    .enum(['constant', 'cosine', 'linear'])
    .default('constant')
    .describe('after the warm-up; the others fall to finalLearningRate'),
  finalLearningRate: z.number().nonnegative().default(0),
  beta1: z.number().min(0).lt(1).default(0.9),
  beta2: z.number().min(0).lt(1).default(0.999),
  epsilon: z.number().positive().default(1e-8),
  weightDecay: z.number().nonnegative().default(0),
  clipNorm: z.number().positive().optional().describe('largest norm of the whole gradient'),
});

const checkpoints = z.strictObject({
  every: positive.default(5_000).describe('steps between checkpoints'),
  keep: positive.min(2).default(2).describe('newest checkpoints kept; at least 2, so that a damaged one has a predecessor'),
  milestoneEvery: positive.optional().describe('checkpoints of these steps are kept for ever'),
});

const sampling = z.strictObject({
  every: positive.default(10_000).describe('steps between previews'),
  perClass: positive.default(4),
  classes: positive.default(10).describe('previews show the first so many classes'),
  solver: z
    .enum(Object.keys(solvers) as [SolverName, ...SolverName[]])
    .optional()
    .describe('default: euler for flow models, ddpm for Gaussian ones, as `sample`'),
  steps: positive.optional().describe("solver steps (default: the solver's own)"),
  guidance: z.number().optional().describe('classifier-free guidance (default: 2 for flow models, 1.5 for Gaussian ones)'),
  vae: z.string().optional().describe('autoencoder that decodes latents, as `encode --vae`; without it previews are rough'),
});

const evaluation = z.strictObject({
  every: positive.describe('steps between online metrics'),
  samples: positive.min(2).default(1_000).describe('too few for a published FID; enough to see whether it falls'),
  inception: z.string().optional().describe("weights of FID's Inception network (default: compare pixels averaged to 8 x 8)"),
});

const faults = z.strictObject({
  rollBackAfter: positive.default(3).describe('steps in a row without a finite gradient, after which the last checkpoint is restored'),
  skipBatches: nonnegative.default(10).describe('batches passed over after that'),
  maxRollBacks: nonnegative.default(3).describe('restorations after which the run stops'),
  spikeFactor: z.number().gt(1).optional().describe('skip a step whose gradient norm exceeds this times the median of recent ones'),
  maxFailedSaves: positive.default(3).describe('checkpoints in a row that could not be written, after which the run stops'),
});

const distillation = z.strictObject({
  teacher: z.string().describe('run folder, checkpoint folder or safetensors file of a model for the same inputs'),
  weight: share.default(0.5).describe('share of the teacher in the loss: 1 learns from the teacher only'),
});

/** The configuration of a run, apart from folder, backend and threads. */
export const configSchema = z.strictObject({
  $schema: z.string().optional().describe('where an editor finds this schema'),
  data: data.prefault({}),
  model,
  initialWeights: z.string().optional().describe('start from the weights of this run, checkpoint or file: fine-tuning, upcycling'),
  objective: objective.prefault({ kind: 'flow' }),
  steps: positive.default(400_000),
  batchSize: positive.default(256).describe('samples per optimizer step'),
  accumulation: positive.default(1).describe('micro-batches per step; must divide batchSize'),
  labelDropout: share.default(0.1).describe('share of labels replaced by the null label, for guidance'),
  optimizer: optimizer.prefault({}),
  ema: z
    .array(z.number().min(0).max(0.999999))
    .min(1)
    .default([0.9999])
    .describe('decays of the averages of the weights; the first one is previewed, all are saved'),
  precision: z.enum(['f32', 'bf16']).default('f32').describe('of matrix products; weights, statistics, softmax and loss are f32'),
  recompute: z.boolean().default(false).describe('recompute activations in the backward pass: one block in memory instead of all'),
  seed: nonnegative.default(0),
  logEvery: positive.default(50),
  histogramEvery: positive.default(1_000).describe('steps between histograms of the weights for TensorBoard'),
  checkpoints: checkpoints.prefault({}),
  sampling: sampling.prefault({}),
  evaluation: evaluation.optional(),
  faults: faults.prefault({}),
  distillation: distillation.optional(),
});
export type TrainConfig = z.infer<typeof configSchema>;

/** The schema for editors (JSON Schema, draft 2020-12). */
export const jsonSchema = (): object => z.toJSONSchema(configSchema, { io: 'input' });
