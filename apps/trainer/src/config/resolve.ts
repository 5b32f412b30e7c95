/** How preset, file and command-line overrides become one configuration. */

import fs from 'node:fs';
import path from 'node:path';
import type { ImageSourceOptions } from '@dit-moe/data/node';
import { checkGuidanceRule, currentObjective, type ObjectiveOptions, presets as samplers, solvers } from '@dit-moe/diffusion';
import { type DitConfig, denseOf, preset as ditPreset } from '@dit-moe/dit';
import { UsageError } from '@dit-moe/kit';
import { nearest, parseSettings, SettingsError } from '@dit-moe/tensor-ops/settings';
import YAML from 'yaml';
import { presets } from './presets.js';
import { type TrainConfig, trainSettings } from './schema.js';

const isObject = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v);

/** Objects merged deeply; arrays and scalars of `over` replace those of `base`, null takes a setting away. */
export function merged(base: unknown, over: unknown): unknown {
  if (!isObject(base) || !isObject(over)) return over;
  const result = { ...base };
  for (const [key, value] of Object.entries(over)) {
    if (value === null) delete result[key];
    else result[key] = key in base ? merged(base[key], value) : value;
  }
  return result;
}

export interface ConfigSources {
  /** Name of a preset; wins over a `preset` named by the file. */
  preset?: string;
  /** YAML or JSON file. It may name the preset that it starts from. */
  file?: string;
  /** What a file would hold, where it is at hand. */
  content?: Record<string, unknown>;
  /** How the configuration is called in errors. */
  what?: string;
  /** Of the form `optimizer.learningRate=1e-3`. */
  overrides?: readonly string[];
  /** Data path, relative to the current folder. */
  data?: string;
  /** Settings of `data` that have options of their own. */
  images?: ImageSourceOptions;
}

/**
 * The configuration from preset, file and overrides, the later ones winning.
 * @throws UsageError if preset, file or an override cannot be read
 * @throws SettingsError naming the field, what was expected and what was found
 */
export function resolveConfig(sources: ConfigSources): TrainConfig {
  const { preset: inFile, ...file } = sources.file === undefined ? (sources.content ?? {}) : readFile(sources.file);
  const name = sources.preset ?? inFile;
  let raw: unknown = {};
  if (name !== undefined) {
    if (typeof name !== 'string' || !Object.hasOwn(presets, name)) {
      const meant = nearest(String(name), Object.keys(presets));
      const help = meant === undefined ? `Choose one of ${Object.keys(presets).join(', ')}.` : `Did you mean ${meant}?`;
      throw new UsageError(`There is no preset "${name}". ${help}`);
    }
    raw = presets[name];
  }
  raw = merged(raw, file);
  for (const override of sources.overrides ?? []) raw = merged(raw, parseOverride(override));
  if (sources.data !== undefined) raw = merged(raw, { data: { path: path.resolve(sources.data) } });
  if (sources.images !== undefined) raw = merged(raw, { data: sources.images });
  if (isObject(raw) && typeof raw['ema'] === 'number') raw = { ...raw, ema: [raw['ema']] };
  if (isObject(raw) && raw['model'] === undefined)
    throw new UsageError('The configuration has no model. Start from --preset digits, or give a file that describes one.');
  return parseConfig(raw, sources.what);
}

/**
 * A configuration from JSON, also of an earlier version, with everything that is left out.
 * @throws SettingsError naming what is wrong
 */
export function parseConfig(json: unknown, what = 'The configuration'): TrainConfig {
  const current = isObject(json) && isObject(json['objective']) ? { ...json, objective: currentObjective(json['objective']) } : json;
  const config = parseSettings(trainSettings, current, what);
  const { batchSize, accumulation, ema, validation, evaluation, objective, sampling, logging } = config;
  if (batchSize % accumulation !== 0)
    throw new SettingsError(what, [{ at: 'accumulation', expected: `a divisor of batchSize ${batchSize}`, found: accumulation }]);
  if (new Set(ema).size < ema.length) throw new SettingsError(what, [{ at: 'ema', expected: 'every rate once', found: ema }]);
  if (evaluation?.inception !== undefined && evaluation.classifier !== undefined)
    throw new SettingsError(what, [{ at: 'evaluation', expected: 'either inception or classifier', found: evaluation }]);
  if (validation !== undefined) {
    const { path, share, samples, buckets } = validation;
    if ((path === undefined) === (share === undefined))
      throw new SettingsError(what, [{ at: 'validation', expected: 'either a path or a share', found: validation }]);
    if (samples < buckets)
      throw new SettingsError(what, [
        { at: 'validation.samples', expected: `at least ${buckets}, one for each of buckets`, found: samples },
      ]);
  }
  const server = logging.mlflow?.server;
  if (server !== undefined && !isServer(server))
    throw new SettingsError(what, [
      { at: 'logging.mlflow.server', expected: 'an http or https address without user and password', found: withoutPassword(server) },
    ]);
  const flow = objective.kind === 'flow';
  const { guidanceRule, solver = (flow ? samplers.flow : samplers.ddpm).solver } = sampling;
  if (guidanceRule !== undefined) checkGuidanceRule(guidanceRule, { flow, evaluationsPerStep: solvers[solver].evaluationsPerStep });
  return config;
}

function isServer(address: string): boolean {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  return url !== undefined && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '';
}

/** An address that may be printed. */
const withoutPassword = (address: string): string => address.replace(/\/\/[^/@]*@/, '//...@');

function readFile(file: string): Record<string, unknown> {
  let content: unknown;
  try {
    content = YAML.parse(fs.readFileSync(file, 'utf8'));
  } catch (error) {
    throw new UsageError(`Cannot read the configuration ${file}: ${(error as Error).message}`);
  }
  if (!isObject(content)) throw new UsageError(`The configuration ${file} must be an object with keys such as model and data.`);
  return content;
}

function parseOverride(override: string): unknown {
  const at = override.indexOf('=');
  if (at < 1) throw new UsageError(`--set expects key=value such as optimizer.learningRate=1e-3, found "${override}".`);
  let value: unknown;
  try {
    value = YAML.parse(override.slice(at + 1));
  } catch (error) {
    throw new UsageError(`--set ${override}: the value is not YAML: ${(error as Error).message.split('\n')[0]}`);
  }
  return override
    .slice(0, at)
    .split('.')
    .reduceRight<unknown>((inner, key) => ({ [key]: inner }), value);
}

/** Whether the model has twice the output channels. */
const learnsSigma = ({ kind, learnSigma }: TrainConfig['objective']): boolean => learnSigma ?? kind === 'ddpm';

/** The objective as the diffusion package and the model card name it. */
export function objectiveOptions(config: TrainConfig['objective']): ObjectiveOptions {
  if (config.kind === 'ddpm') {
    const { learnSigma: _, ...options } = config;
    return { ...options, varianceType: learnsSigma(config) ? 'learned-range' : 'fixed-large' };
  }
  const { learnSigma: _, timeScale: __, ...options } = config;
  return options;
}

/** What a data set determines of the model. */
export interface DataShape {
  channels: number;
  height: number;
  width: number;
  classNames: readonly string[];
}

/** Largest timestep, in the units that the model is told. */
export const timeRange = (objective: TrainConfig['objective']): number =>
  objective.kind === 'flow' ? objective.timeScale : (objective.steps ?? 1000);

/** The model's configuration for data of this kind. */
export function modelConfig(config: TrainConfig, data: DataShape): DitConfig {
  const { preset, dense, ...own } = config.model;
  const numClasses = data.classNames.length;
  const base = preset === undefined ? { mlpRatio: 4 } : ditPreset(preset, { numClasses });
  const defined = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined));
  const byTime = own.moe?.router === 'timestep' && { moe: { ...own.moe, timeRange: timeRange(config.objective) } };
  const model = {
    ...base,
    ...defined,
    ...byTime,
    inputSize: [data.height, data.width],
    inChannels: data.channels,
    numClasses,
    learnSigma: learnsSigma(config.objective),
    // A null label would never be trained.
    ...(config.labelDropout === 0 && { nullLabel: false }),
  } as DitConfig;
  return dense === undefined ? model : denseOf(model, dense);
}
