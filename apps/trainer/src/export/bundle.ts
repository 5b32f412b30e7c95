/** A folder to publish: weights for inference, configuration, and a model card for people with the run's metrics. */
import fs from 'node:fs/promises';
import path from 'node:path';
import type { ModelCard, ModelFile } from '@dit-moe/dit';
import { writeModel } from '@dit-moe/dit/node';
import type { InferencePrecision } from '@dit-moe/tensor-ops';
import { createFolderAtomically, hashFile, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import type { TrainConfig } from '../config/schema.js';
import { readMetrics } from '../training/metrics-log.js';
import { type Evaluation, modelPage } from './model-page.js';

/** Where the weights are from, and what else people are told of them. */
interface Origin {
  run: string;
  weights: string;
  /** Identifier as the Hugging Face hub has them, such as `apache-2.0`. */
  license?: string;
  evaluations: readonly Evaluation[];
  onProgress?: () => void;
}

/** How matrices are stored for a precision. */
export const DTYPES = { f32: 'F32', bf16: 'BF16', int8: 'I8' } as const;

/** Writes the folder, whole or not at all: `model.safetensors`, `config.json`, `README.md`, and the last samples of the run. */
export async function exportBundle(
  model: ModelFile,
  card: ModelCard,
  out: string,
  precision: InferencePrecision,
  { onProgress, license, evaluations, ...origin }: Origin,
): Promise<void> {
  const trained = await fs
    .readFile(path.join(origin.run, 'config.json'), 'utf8')
    .then((text) => JSON.parse(text) as TrainConfig)
    .catch(() => undefined);
  const metrics = (await readMetrics(origin.run)).filter(({ step }) => step <= card.step);
  const sheet = await lastSamples(origin.run, card.step);
  const source = await dataSource(trained?.data.path);
  const config = trained && (JSON.parse(JSON.stringify(trained), withoutFolders) as TrainConfig);
  await createFolderAtomically(out, async (folder) => {
    const shared = withoutPaths(card);
    const file = path.join(folder, 'model.safetensors');
    await writeModel(file, model, {
      card: shared,
      dtype: DTYPES[precision],
      ...(onProgress && { onProgress }),
    });
    await writeFileAtomically(path.join(folder, 'config.json'), `${JSON.stringify({ model: shared, training: config }, null, 2)}\n`);
    if (sheet !== undefined) await fs.copyFile(sheet, path.join(folder, 'samples.png'));
    const about = { card, precision, weights: origin.weights, config, metrics, source, evaluations, hasSamples: sheet !== undefined };
    const readme = modelPage({ ...about, ...(license !== undefined && { license }), sha256: await hashFile(file) });
    await writeFileAtomically(path.join(folder, 'README.md'), readme);
  });
}

/** Reviver of JSON: folders of this machine tell nobody else anything. */
const withoutFolders = (_: string, value: unknown): unknown =>
  typeof value === 'string' && path.isAbsolute(value) ? path.basename(value) : value;

/** The card without the path of an autoencoder on this machine; a name stays. */
function withoutPaths({ latents, ...card }: ModelCard): ModelCard {
  if (latents === undefined) return card;
  const { autoencoder, ...rest } = latents;
  return { ...card, latents: { ...rest, ...(autoencoder !== undefined && !path.isAbsolute(autoencoder) && { autoencoder }) } };
}

/** What data sets say of where they are from and who owns them: `SOURCE.txt` in their folder, or above that of a split. */
async function dataSource(data: string | undefined): Promise<string | undefined> {
  if (data === undefined) return undefined;
  for (const folder of [data, path.dirname(path.resolve(data))]) {
    const text = await fs.readFile(path.join(folder, 'SOURCE.txt'), 'utf8').catch(() => undefined);
    if (text !== undefined) return text.trim();
  }
  return undefined;
}

async function lastSamples(run: string, step: number): Promise<string | undefined> {
  const folder = path.join(run, 'samples');
  const names = (await fs.readdir(folder).catch(() => [] as string[])).filter(
    (name) => Number(/^step-(\d+)\.png$/.exec(name)?.[1] ?? Number.NaN) <= step,
  );
  const last = names.sort().at(-1);
  return last === undefined ? undefined : path.join(folder, last);
}
