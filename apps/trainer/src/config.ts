/** The configuration of a run: its schema, presets, and how files and command-line overrides become one. */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type DitConfig, preset as ditPreset } from '@dit-moe/dit';
import YAML from 'yaml';
import { z } from 'zod';
import { UsageError } from './errors.js';

const positive = z.number().int().positive();
const moe = z.strictObject({
  numExperts: positive,
  topK: positive,
  expertRatio: z.number().positive().default(4),
  sharedRatio: z.number().nonnegative().default(2),
  balanceAlpha: z.number().nonnegative().default(0.01),
  balanceOver: z.enum(['batch', 'image']).default('batch'),
});
const model = z.strictObject({
  /** A published size such as `S/2-8E2A`; the other fields override it. */
  preset: z.string().optional(),
  patchSize: positive.optional(),
  hiddenSize: positive.optional(),
  depth: positive.optional(),
  numHeads: positive.optional(),
  mlpRatio: z.number().positive().optional(),
  moe: moe.optional(),
});

/** Everything that determines a run, apart from folder, backend and threads. */
export const configSchema = z.strictObject({
  data: z.strictObject({
    folder: z.string(),
    size: positive.optional(),
    channels: z.union([z.literal(1), z.literal(3)]).default(1),
    flip: z.boolean().default(false),
  }),
  model,
  objective: z.strictObject({
    kind: z.literal('flow').default('flow'),
    /** The model's timestep is t in [0, 1] times this. */
    timeScale: z.number().positive().default(1),
  }),
  steps: positive.default(400_000),
  batchSize: positive.default(256),
  /** Micro-batches per step; must divide `batchSize`. */
  accumulation: positive.default(1),
  labelDropout: z.number().min(0).max(1).default(0.1),
  optimizer: z.strictObject({
    learningRate: z.number().positive().default(1e-4),
    warmupSteps: z.number().int().nonnegative().default(0),
    schedule: z.enum(['constant', 'cosine']).default('constant'),
    weightDecay: z.number().nonnegative().default(0),
    clipNorm: z.number().positive().optional(),
  }),
  emaDecay: z.number().min(0).max(0.999999).default(0.9999),
  precision: z.enum(['f32', 'bf16']).default('f32'),
  seed: z.number().int().nonnegative().default(0),
  logEvery: positive.default(50),
  sampleEvery: positive.default(10_000),
  checkpointEvery: positive.default(5_000),
  keepCheckpoints: positive.default(2),
  sampling: z.strictObject({ steps: positive.default(50), guidance: z.number().default(1.5) }),
});
export type TrainConfig = z.infer<typeof configSchema>;

const digits = fileURLToPath(new URL('../data/digits', import.meta.url));
const sections = { objective: {}, optimizer: {}, sampling: {} };

/** Named starting points. */
export const presets: Readonly<Record<string, object>> = {
  digits: {
    ...sections,
    data: { folder: digits },
    model: { patchSize: 2, hiddenSize: 64, depth: 4, numHeads: 4, moe: { numExperts: 8, topK: 2, expertRatio: 2, sharedRatio: 1 } },
    objective: { timeScale: 1000 },
    steps: 1500,
    batchSize: 128,
    optimizer: { learningRate: 1.5e-3, warmupSteps: 50, schedule: 'cosine', clipNorm: 1 },
    emaDecay: 0.99,
    sampleEvery: 500,
    checkpointEvery: 500,
    sampling: { steps: 25, guidance: 2 },
  },
  'paper-s-2-8e2a': { ...sections, data: { channels: 3, flip: true }, model: { preset: 'S/2-8E2A' }, batchSize: 1024, accumulation: 32 },
};

/** Objects merged deeply; arrays and scalars of `over` replace those of `base`. */
function merge(base: unknown, over: unknown): unknown {
  const isObject = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v);
  if (!isObject(base) || !isObject(over)) return over;
  const merged = { ...base };
  for (const [key, value] of Object.entries(over)) merged[key] = key in base ? merge(base[key], value) : value;
  return merged;
}

/**
 * The configuration from preset, file and overrides, the later ones winning.
 * @param overrides of the form `optimizer.learningRate=1e-3`
 * @throws UsageError naming the field, what was expected and what was found
 */
export function resolveConfig(options: { preset?: string; file?: string; overrides?: readonly string[]; data?: string }): TrainConfig {
  let raw: unknown = sections;
  if (options.preset !== undefined) {
    if (presets[options.preset] === undefined)
      throw new UsageError(`There is no preset "${options.preset}"; choose one of ${Object.keys(presets).join(', ')}.`);
    raw = merge(raw, presets[options.preset]);
  }
  if (options.file !== undefined) {
    try {
      raw = merge(raw, YAML.parse(fs.readFileSync(options.file, 'utf8')));
    } catch (error) {
      throw new UsageError(`Cannot read the configuration ${options.file}: ${(error as Error).message}`);
    }
  }
  for (const override of options.overrides ?? []) {
    const at = override.indexOf('=');
    if (at < 1) throw new UsageError(`--set expects key=value such as optimizer.learningRate=1e-3, found "${override}".`);
    const value: unknown = override
      .slice(0, at)
      .split('.')
      .reduceRight<unknown>((inner, key) => ({ [key]: inner }), YAML.parse(override.slice(at + 1)));
    raw = merge(raw, value);
  }
  if (options.data !== undefined) raw = merge(raw, { data: { folder: path.resolve(options.data) } });
  const result = configSchema.safeParse(raw);
  if (!result.success) {
    const problems = result.error.issues.map((issue) => `  ${issue.path.join('.') || 'configuration'}: ${issue.message}`);
    throw new UsageError(`The configuration is not valid:\n${problems.join('\n')}\nStart from --preset digits, or give --data FOLDER.`);
  }
  if (result.data.batchSize % result.data.accumulation !== 0)
    throw new UsageError(`batchSize ${result.data.batchSize} must be a multiple of accumulation ${result.data.accumulation}.`);
  return result.data;
}

/** The model's configuration for images of this kind. */
export function modelConfig(config: TrainConfig, data: { size: number; channels: number; classNames: readonly string[] }): DitConfig {
  const { preset, ...own } = config.model;
  const numClasses = data.classNames.length;
  const base = preset === undefined ? { mlpRatio: 4 } : ditPreset(preset, { numClasses });
  const defined = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined));
  const merged = { ...base, ...defined } as DitConfig;
  return { ...merged, inputSize: [data.size, data.size], inChannels: data.channels, numClasses, learnSigma: false };
}

/** Learning rate of a step (from 0): linear warm-up, then constant or cosine to zero. */
export function learningRateAt(config: TrainConfig, step: number): number {
  const { learningRate, warmupSteps, schedule } = config.optimizer;
  if (step < warmupSteps) return (learningRate * (step + 1)) / warmupSteps;
  if (schedule === 'constant') return learningRate;
  return learningRate * 0.5 * (1 + Math.cos((Math.PI * (step - warmupSteps)) / Math.max(1, config.steps - warmupSteps)));
}
