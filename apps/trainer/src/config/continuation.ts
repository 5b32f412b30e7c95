/** The configuration with which a model that was made from another one is trained on, as it is. */
import fs from 'node:fs/promises';
import path from 'node:path';
import type { ModelCard, ModelFile } from '@dit-moe/dit';
import { writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import YAML from 'yaml';
import { runOf } from '../run/run-of.js';

/** Where the configuration of a model file stands. */
export const continuationOf = (weights: string): string => `${weights.replace(/\.safetensors$/, '')}.yaml`;

/**
 * Writes a configuration beside new weights: that of the run which the source is from, else what its card says, with the new model.
 * @param out file of the new weights, described by `card`
 * @param more settings beside model and weights
 * @returns the file, and whether it says what data to train on
 */
export async function writeContinuation(
  out: string,
  card: ModelCard,
  source: Pick<ModelFile, 'path'>,
  more: object = {},
): Promise<{ file: string; hasData: boolean }> {
  const run = runOf(source.path);
  const before = run === undefined ? undefined : await fs.readFile(path.join(run, 'config.json'), 'utf8').catch(() => undefined);
  const { distillation: _, ...base } = before === undefined ? settingsOf(card) : (JSON.parse(before) as Record<string, unknown>);
  const config = { ...base, model: modelSettings(card), initialWeights: path.resolve(out), ...more };
  const file = continuationOf(out);
  await writeFileAtomically(file, `# Trains on from a model that was made of ${source.path}.\n${YAML.stringify(config)}`);
  return { file, hasData: (config as { data?: { path?: string } }).data?.path !== undefined };
}

/** The part of a model that the `model` section holds; the rest follows from data and objective. */
function modelSettings({ config }: ModelCard): object {
  const { inputSize: _, inChannels: __, numClasses: ___, learnSigma: ____, ...model } = config;
  return model;
}

/** What a card says of a training. */
function settingsOf({ config, objective, objectiveOptions, timeScale, latents }: ModelCard): Record<string, unknown> {
  const { varianceType: _, kind: __, ...options } = (objectiveOptions ?? {}) as { varianceType?: string; kind?: string };
  const { learnSigma, inChannels } = config;
  return {
    data: latents === undefined ? { kind: 'images', channels: inChannels } : { kind: 'latents' },
    objective: { kind: objective, learnSigma, ...(objective === 'flow' && { timeScale }), ...options },
    ...(config.nullLabel === false && { labelDropout: 0 }),
  };
}
