/** A folder to publish: weights for inference, configuration, and a model card for people with the run's metrics. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { describeModel, type ModelCard, type ModelFile } from '@dit-moe/dit';
import { writeModel } from '@dit-moe/dit/node';
import type { Precision } from '@dit-moe/tensor-ops';
import { createFolderAtomically, hashFile, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import YAML from 'yaml';
import type { TrainConfig } from '../config/schema.js';
import { type MetricsLine, readMetrics } from '../training/metrics-log.js';

/** Writes the folder, whole or not at all: `model.safetensors`, `config.json`, `README.md`, and the last samples of the run. */
export async function exportBundle(
  model: ModelFile,
  card: ModelCard,
  out: string,
  precision: Precision,
  { onProgress, ...origin }: { run: string; weights: string; onProgress?: () => void },
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
      dtype: precision === 'bf16' ? 'BF16' : 'F32',
      ...(onProgress && { onProgress }),
    });
    await writeFileAtomically(path.join(folder, 'config.json'), `${JSON.stringify({ model: shared, training: config }, null, 2)}\n`);
    if (sheet !== undefined) await fs.copyFile(sheet, path.join(folder, 'samples.png'));
    const about = { card, precision, weights: origin.weights, config, metrics, source, hasSamples: sheet !== undefined };
    const readme = modelCard({ ...about, sha256: await hashFile(file) });
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

interface About {
  card: ModelCard;
  precision: Precision;
  /** Which weights of the run. */
  weights: string;
  config: TrainConfig | undefined;
  metrics: readonly MetricsLine[];
  source: string | undefined;
  hasSamples: boolean;
  /** Of the file of weights. */
  sha256: string;
}

function modelCard({ card, precision, weights, config, metrics, source, hasSamples, sha256 }: About): string {
  const { config: model, classNames } = card;
  const { parameters, gmac } = describeModel(model);
  const last = metrics.at(-1);
  const evaluation = metrics.findLast((line) => line.evaluation !== undefined)?.evaluation ?? {};
  const millions = (n: number): string => `${(n / 1e6).toFixed(n < 1e7 ? 2 : 1)} M`;
  const shown = classNames.slice(0, 20).join(', ') + (classNames.length > 20 ? `, ... (${classNames.length})` : '');
  const rows: [string, string][] = [
    [
      'architecture',
      `${model.moe === undefined ? 'DiT' : 'DiT-MoE'}, ${model.depth} blocks of width ${model.hiddenSize}, ${model.numHeads} heads, patches of ${model.patchSize}`,
    ],
    ...(model.moe === undefined
      ? []
      : ([['experts', `${model.moe.numExperts} routed, ${model.moe.topK} per token${model.moe.sharedRatio > 0 ? ', one shared' : ''}`]] as [
          string,
          string,
        ][])),
    ['parameters', `${millions(parameters.total)}, ${millions(parameters.active)} active per token`],
    ['forward pass', `${gmac.total.toPrecision(4)} GMAC per image`],
    [
      'input',
      `${model.inChannels} x ${model.inputSize.join(' x ')}${card.latents === undefined ? ' pixels in [-1, 1]' : ` latents (scale ${card.latents.scalingFactor}, autoencoder sha256 ${card.latents.vae.slice(0, 12)})`}`,
    ],
    ['objective', card.objective === 'flow' ? `flow matching, the model sees t times ${card.timeScale}` : 'Gaussian diffusion'],
    ['classes', shown],
    [
      'weights',
      `${weights === 'weights' ? 'of the last step' : `average ${weights === 'ema' ? (config?.ema[0] ?? '') : weights.slice(4)}`}, matrices in ${precision}`,
    ],
    ['step', card.step.toLocaleString('en')],
    ...(last === undefined ? [] : ([['training loss', last.loss.toFixed(4)]] as [string, string][])),
    ...Object.entries(evaluation).map(([name, value]): [string, string] => [`${name} (online)`, value.toPrecision(4)]),
    ['sha256', sha256],
  ];
  return `---
library_name: dit-moe
tags: [diffusion, mixture-of-experts, image-generation]
---
# ${model.moe === undefined ? 'DiT' : 'DiT-MoE'}, step ${card.step.toLocaleString('en')}
${hasSamples ? '\n![Samples](samples.png)\n' : ''}
| | |
|---|---|
${rows.map(([key, value]) => `| ${key} | ${value.replaceAll('|', '\\|')} |`).join('\n')}

\`\`\`sh
dit-moe-sampler sample model.safetensors
\`\`\`
${source === undefined ? '' : `\n## Data\n\n${source}\n`}${config === undefined ? '' : `\n## Training\n\n\`\`\`yaml\n${YAML.stringify(config)}\`\`\`\n`}`;
}
