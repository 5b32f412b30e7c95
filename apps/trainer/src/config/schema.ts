/** Everything that determines a run, as one validated object; the descriptions reach editors through the JSON schema. */
import { imageSettings } from '@dit-moe/data/node';
import { ddpmFields, flowFields, type SolverName, solvers } from '@dit-moe/diffusion';
import { ditSettings, moeInFull, moeSettings } from '@dit-moe/dit';
import {
  flag,
  integer,
  type JsonSchema,
  list,
  number,
  object,
  optional,
  partial,
  section,
  text,
  type ValueOf,
  variants,
  withDefault,
  word,
} from '@dit-moe/tensor-ops/settings';

const positive = (description: string) => integer(description, { least: 1 });
const nonnegative = (description: string) => integer(description, { least: 0 });
const share = (description: string) => number(description, { least: 0, most: 1 });

const { labels, applyOrientation } = imageSettings.fields;
const data = section(
  {
    kind: withDefault(
      word(
        ['images', 'latents'],
        'images: a folder per class, WebDataset tar shards, parquet, .npz or idx files; latents: what `encode` wrote',
      ),
      'images',
    ),
    path: optional(text('file or folder; --data sets it')),
    ...imageSettings.fields,
    labels: withDefault(labels, 'auto'),
    applyOrientation: withDefault(applyOrientation, false),
    size: optional(positive('height and width in pixels (default: those of the first image); latents have their own')),
    channels: withDefault(word([1, 3], '1 (grey) or 3 (RGB); latents have their own'), 3),
    flip: withDefault(flag('mirror half of the images'), false),
    memory: withDefault(nonnegative('MiB of decoded images kept in memory; a larger set is decoded again in every epoch'), 2048),
    prefetch: withDefault(positive('batches prepared ahead of the step'), 2),
    maxUnreadable: withDefault(share('share of images that may be unreadable before the run refuses to start'), 0.01),
  },
  'what is trained on',
);

/** The rest of the model follows from data and objective. */
const { inputSize: _size, inChannels: _channels, numClasses: _classes, learnSigma: _sigma, moe: _moe, ...modelFields } = ditSettings.fields;
const { expertRatio, sharedRatio, balanceAlpha, balanceOver, timeRange: _range, ...moeFields } = moeSettings.fields;
const model = object(
  {
    preset: optional(text('a published size such as S/2-8E2A; the other fields override it')),
    ...partial(modelFields),
    dense: optional(
      word(
        ['matched', 'plain'],
        'a dense model in place of the one with experts, to compare with: matched has its active parameters and products (SwiGLU as wide as the experts of a token), plain is the one of the same size (default: the model with experts)',
      ),
    ),
    moe: optional(
      moeInFull(
        object(
          {
            ...moeFields,
            expertRatio: withDefault(expertRatio, 4),
            sharedRatio: withDefault(sharedRatio, 2),
            balanceAlpha: withDefault(balanceAlpha, 0.01),
            balanceOver: withDefault(balanceOver, 'batch'),
          },
          'experts in place of dense feed-forward layers (default: none, or those of the preset)',
        ),
      ),
    ),
  },
  'the diffusion transformer; its inputs, outputs and classes follow from data and objective',
);

const { varianceType: _variance, ...gaussianFields } = ddpmFields;
const objective = variants(
  'kind',
  {
    flow: {
      timeScale: withDefault(number('the model sees t in [0, 1] times this (1 in the reference)', { above: 0 }), 1),
      learnSigma: optional(
        flag('twice the output channels, of which the second half is not used, as published flow models (default false)'),
      ),
      ...flowFields,
    },
    ddpm: {
      learnSigma: optional(flag('learn the variance in a second half of output channels (default true)')),
      ...gaussianFields,
    },
  },
  "what the model is trained for: flow matching, whose defaults are the rectified flow of DiT-MoE, or Gaussian diffusion, whose defaults are DiT's",
  'flow',
);

const optimizer = section(
  {
    learningRate: withDefault(number('the largest, after the warm-up (1e-4 in the paper)', { above: 0 }), 1e-4),
    warmupSteps: withDefault(nonnegative('steps in which the learning rate rises from 0'), 0),
    schedule: withDefault(
      word(['constant', 'cosine', 'linear'], 'after the warm-up; cosine and linear fall to finalLearningRate at the last step'),
      'constant',
    ),
    finalLearningRate: withDefault(number('at the last step, unless the schedule is constant', { least: 0 }), 0),
    beta1: withDefault(number('decay of the average of the gradients', { least: 0, below: 1 }), 0.9),
    beta2: withDefault(number('decay of the average of their squares', { least: 0, below: 1 }), 0.999),
    epsilon: withDefault(number('added to the root of that average', { above: 0 }), 1e-8),
    weightDecay: withDefault(
      number('share of the weights that a step takes away, times the learning rate (0 in the paper)', { least: 0 }),
      0,
    ),
    clipNorm: optional(number('largest norm of the whole gradient; larger ones are scaled down (default: none)', { above: 0 })),
  },
  'AdamW',
);

const checkpoints = section(
  {
    every: withDefault(positive('steps between checkpoints'), 5_000),
    keep: withDefault(
      integer('newest whole checkpoints kept; at least 2, so that one that is damaged later has a predecessor', { least: 2 }),
      2,
    ),
    milestoneEvery: optional(positive('checkpoints of steps divisible by this are kept for ever (default: none)')),
  },
  'what a run goes on from',
);

const sampling = section(
  {
    every: withDefault(positive('steps between previews'), 10_000),
    perClass: withDefault(positive('images of each class'), 4),
    classes: withDefault(positive('previews show the first so many classes'), 10),
    solver: optional(
      word(
        Object.keys(solvers) as SolverName[],
        'default: euler for flow models, ddpm for Gaussian ones, as `sample`; also of online metrics',
      ),
    ),
    steps: optional(positive("solver steps (default: the solver's own); also of online metrics")),
    guidance: optional(
      number(
        'scale of classifier-free guidance, 1 for none (default: 2 for flow models, 1.5 for Gaussian ones); also of online metrics, and what the model is sampled with by default',
      ),
    ),
    guidanceRule: optional(
      text(
        'rule of guidance, such as rescale or apg:momentum=-0.5 (default: cfg); also of online metrics, and what the model is sampled with by default',
      ),
    ),
    vae: optional(text('autoencoder that decodes latents, as `encode --vae`; without it previews are rough')),
  },
  'previews',
);

const evaluation = object(
  {
    every: positive('steps between online metrics'),
    samples: withDefault(integer('too few for a published FID; enough to see whether it falls', { least: 2 }), 1_000),
    inception: optional(text("weights of FID's Inception network (default: compare pixels averaged to 8 x 8)")),
    classifier: optional(text('instead: what `train-classifier` wrote; tells also how many samples are of their class')),
  },
  'online metrics: samples against real images (default: none)',
);

const validation = object(
  {
    path: optional(text('images or latents that are held out, of the kind of the training data')),
    split: optional(text('of that path, which one where names tell several, such as val')),
    share: optional(number('instead of a path: the share of the training data that is held out', { above: 0, below: 1 })),
    every: withDefault(positive('steps between measurements'), 1_000),
    samples: withDefault(
      positive('images that are noised; where there are fewer, each comes several times, at other times with other noise'),
      1_000,
    ),
    buckets: withDefault(positive('equal parts of the times, each with a loss of its own'), 4),
    seed: withDefault(nonnegative("of what is held out, of its times and noise; not the run's, so that runs of several seeds compare"), 0),
  },
  'loss of the first average on images that training never sees, at fixed times with fixed noise (default: none)',
);

const faults = section(
  {
    rollBackAfter: withDefault(positive('steps in a row without a finite gradient, after which the last checkpoint is restored'), 3),
    skipBatches: withDefault(nonnegative('batches passed over after that'), 10),
    maxRollBacks: withDefault(nonnegative('restorations after which the run stops'), 3),
    spikeFactor: optional(
      number('skip a step whose gradient norm exceeds this times the median of recent ones (default: none)', { above: 1 }),
    ),
    maxFailedSaves: withDefault(positive('checkpoints in a row that could not be written, after which the run stops'), 3),
  },
  'what is borne before a run stops',
);

const runName = optional(text('name of the run there (default: that of its folder)'));
const logging = section(
  {
    wandb: optional(
      object(
        {
          project: text('project that the run belongs to'),
          entity: optional(text('user or team that owns the project (default: that of whoever uploads)')),
          name: runName,
        },
        'Weights & Biases: the run is written to the folder wandb in its own, for "wandb sync"; nothing is sent (default: not written)',
      ),
    ),
    mlflow: optional(
      object(
        {
          server: text(
            'address of the tracking server, such as http://127.0.0.1:5000; who may write is told by MLFLOW_TRACKING_TOKEN, or by MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD',
          ),
          experiment: withDefault(text('experiment that the run belongs to; made if it is not there'), 'dit-moe'),
          name: runName,
        },
        'MLflow: metrics, settings and samples are sent to its server while the run goes on (default: not sent)',
      ),
    ),
  },
  'where metrics go beside metrics.jsonl and TensorBoard; a place that fails costs a warning, never the run',
);

const parallel = section(
  {
    zero: withDefault(
      word(
        [0, 1, 2],
        'what the processes of a cluster share out (ZeRO): 0 nothing; 1 optimizer and averages; 2 also the sums of gradients over micro-batches',
      ),
      0,
    ),
    experts: withDefault(
      positive('processes that share the experts of a layer out; must divide their number and that of the processes'),
      1,
    ),
    capacity: optional(
      number(
        'room of a shared-out expert as a multiple of an even share; what finds none is dropped and counted (default: as much as is needed)',
        { above: 0 },
      ),
    ),
  },
  'how several processes share a training; one process alone has all of it',
);

const distillation = object(
  {
    teacher: text('run folder, checkpoint folder or safetensors file of a model for the same inputs'),
    weight: withDefault(share('share of the teacher in the loss: 1 learns from the teacher only'), 0.5),
    hidden: withDefault(
      number("weight of the distance between the blocks' hidden states, which is 0 to 1; the patches must be the teacher's", { least: 0 }),
      0,
    ),
  },
  'what a teacher, of any depth, width and experts, adds to the loss: the squared distance to its output, and that to its hidden states (default: nothing)',
);

/** The configuration of a run, apart from folder, backend and threads. */
export const trainSettings = object({
  $schema: optional(text('where an editor finds this schema')),
  data,
  model,
  initialWeights: optional(text('start from the weights of this run, checkpoint or file: fine-tuning, upcycling')),
  objective: withDefault(objective, { kind: 'flow', timeScale: 1 }),
  steps: withDefault(positive('optimizer steps of the whole run'), 400_000),
  batchSize: withDefault(positive('samples per optimizer step'), 256),
  accumulation: withDefault(positive('micro-batches per step; must divide batchSize'), 1),
  labelDropout: withDefault(share('share of labels replaced by the null label, for guidance'), 0.1),
  optimizer,
  ema: withDefault(
    list(
      number('decay', { least: 0, most: 0.999999 }),
      'decays of the averages of the weights; the first one is previewed, all are saved',
      { least: 1 },
    ),
    [0.9999],
  ),
  precision: withDefault(
    word(
      ['f32', 'bf16'],
      'of matrix products; weights, moments, sums, statistics, softmax and loss are f32. No f16: its range needs a loss scale, and GPUs without bf16 are older than those this is for',
    ),
    'f32',
  ),
  tensorFloat32: withDefault(
    flag('let f32 products keep 10 bits of each operand on GPUs that have TensorFloat-32, as the reference does'),
    true,
  ),
  deterministic: withDefault(flag('only kernels that give the same bits in every run; slower on a GPU, CPUs have no others here'), false),
  recompute: withDefault(flag('recompute activations in the backward pass: one block in memory instead of all'), false),
  seed: withDefault(nonnegative('of weights, order, noise, times and samples'), 0),
  logEvery: withDefault(positive('steps between lines of metrics, which hold the means over them'), 50),
  histogramEvery: withDefault(positive('steps between histograms of the weights for TensorBoard'), 1_000),
  checkpoints,
  sampling,
  logging,
  evaluation: optional(evaluation),
  validation: optional(validation),
  faults,
  parallel,
  distillation: optional(distillation),
});
/** The configuration of a run with all defaults filled in. */
export type TrainConfig = ValueOf<typeof trainSettings>;

/** The schema for editors (JSON Schema, draft 2020-12). */
export const jsonSchema = (): JsonSchema => ({ $schema: 'https://json-schema.org/draft/2020-12/schema', ...trainSettings.schema });
