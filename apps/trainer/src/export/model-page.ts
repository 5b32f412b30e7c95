/**
 * The page of a published model (`README.md`): what it is, what it was trained on, how good it is, who may use it. It begins with what the
 * Hugging Face hub reads to list the model and to show its evaluation.
 *
 * Source: huggingface.co/docs/hub/model-cards and the specification of a model card's metadata, github.com/huggingface/hub-docs,
 * modelcard.md.
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import { describeModel, type ModelCard } from '@dit-moe/dit';
import { UsageError } from '@dit-moe/kit';
import { type MetricValues, metricRows } from '@dit-moe/metrics';
import type { InferencePrecision } from '@dit-moe/tensor-ops';
import YAML from 'yaml';
import type { TrainConfig } from '../config/schema.js';
import type { MetricsLine } from '../training/metrics-log.js';

/** What `dit-moe-sampler evaluate --out` writes, as far as a page shows it. */
export interface Evaluation {
  samples: { count: number };
  reference?: { path: string; count: number };
  network: { name: string; description: string };
  metrics: MetricValues;
}

/** @throws UsageError if the file is none that `evaluate --out` has written */
export async function readEvaluation(file: string): Promise<Evaluation> {
  try {
    const record = JSON.parse(await fs.readFile(file, 'utf8')) as Partial<Evaluation> & { format?: number };
    const isOne = record.format === 1 && Number.isInteger(record.samples?.count) && typeof record.network?.name === 'string';
    if (!isOne || typeof record.metrics !== 'object') throw new Error('it is another kind of file');
    return record as Evaluation;
  } catch (cause) {
    throw new UsageError(`${file} is not a record of "dit-moe-sampler evaluate --out": ${(cause as Error).message}.`, { cause });
  }
}

interface About {
  card: ModelCard;
  precision: InferencePrecision;
  /** Which weights of the run. */
  weights: string;
  /** Identifier of the licence. */
  license?: string;
  config: TrainConfig | undefined;
  metrics: readonly MetricsLine[];
  evaluations: readonly Evaluation[];
  /** What the data says of itself. */
  source: string | undefined;
  hasSamples: boolean;
  /** Of the file of weights. */
  sha256: string;
}

/** A number that was measured, on how many samples, against what. */
interface Measured {
  name: string;
  value: number;
  text: string;
  how: string;
  /** What the data is called. */
  dataset: string;
}

export function modelPage(about: About): string {
  const { card, config, license, hasSamples } = about;
  const title = `${card.config.moe === undefined ? 'DiT' : 'DiT-MoE'}, step ${card.step.toLocaleString('en')}`;
  const measured = measurements(about);
  return [
    `---\n${YAML.stringify(metadata(title, about, measured))}---\n# ${title}`,
    ...(hasSamples ? ['![Samples](samples.png)'] : []),
    table(['', ''], rowsOfModel(about)),
    `\`\`\`sh\ndit-moe-sampler sample model.safetensors${about.precision === 'int8' ? ' --precision int8' : ''}\n\`\`\``,
    `## Data\n\n${dataText(about)}`,
    `## Evaluation\n\n${evaluationText(measured)}`,
    `## Licence\n\n${license === undefined ? 'None is given: ask whoever published this before you use it.' : `\`${license}\``}`,
    ...(config === undefined ? [] : [`## Training\n\n\`\`\`yaml\n${YAML.stringify(config)}\`\`\``]),
  ]
    .join('\n\n')
    .concat('\n');
}

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`).join('\n');

/** Head of the page. The hub has no task for pictures of a class; its nearest is pictures without a text. */
function metadata(title: string, { license }: About, measured: readonly Measured[]): object {
  const task = 'unconditional-image-generation';
  const datasets = [...new Set(measured.map(({ dataset }) => dataset))];
  const results = datasets.map((dataset) => ({
    task: { type: task },
    dataset: { type: dataset.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-'), name: dataset },
    metrics: measured
      .filter((one) => one.dataset === dataset)
      .map(({ name, value, how }) => ({
        type: name
          .toLowerCase()
          .replaceAll(/[^a-z0-9]+/g, '-')
          .replace(/-$/, ''),
        name: `${name}, ${how}`,
        value,
      })),
  }));
  return {
    ...(license !== undefined && { license }),
    library_name: 'dit-moe',
    pipeline_tag: task,
    tags: ['diffusion', 'mixture-of-experts', 'image-generation'],
    ...(results.length > 0 && { 'model-index': [{ name: title, results }] }),
  };
}

function rowsOfModel({ card, precision, weights, config, metrics, sha256 }: About): [string, string][] {
  const { config: model, classNames } = card;
  const { parameters, gmac } = describeModel(model);
  const last = metrics.at(-1);
  const decay = weights === 'ema' ? (card.emaDecay ?? config?.ema[0]) : weights.slice(4);
  const millions = (n: number): string => `${(n / 1e6).toFixed(n < 1e7 ? 2 : 1)} M`;
  const experts =
    model.moe && `${model.moe.numExperts} routed, ${model.moe.topK} per token${model.moe.sharedRatio > 0 ? ', one shared' : ''}`;
  const space =
    card.latents === undefined
      ? ' pixels in [-1, 1]'
      : ` latents (scale ${card.latents.scalingFactor}, autoencoder sha256 ${card.latents.vae.slice(0, 12)})`;
  return [
    [
      'architecture',
      `${experts === undefined ? 'DiT' : 'DiT-MoE'}, ${model.depth} blocks of width ${model.hiddenSize}, ${model.numHeads} heads, patches of ${model.patchSize}`,
    ],
    ...(experts === undefined ? [] : [['experts', experts] as [string, string]]),
    ['parameters', `${millions(parameters.total)}, ${millions(parameters.active)} active per token`],
    ['forward pass', `${gmac.total.toPrecision(4)} GMAC per image`],
    ['input', `${model.inChannels} x ${model.inputSize.join(' x ')}${space}`],
    ['objective', card.objective === 'flow' ? `flow matching, the model sees t times ${card.timeScale}` : 'Gaussian diffusion'],
    ['classes', classNames.slice(0, 20).join(', ') + (classNames.length > 20 ? `, ... (${classNames.length})` : '')],
    [
      'weights',
      `${weights === 'weights' ? 'of the last step' : `average${decay === undefined ? '' : ` ${decay}`}`}, matrices in ${precision}`,
    ],
    ['step', card.step.toLocaleString('en')],
    ...(last === undefined ? [] : [['training loss', last.loss.toFixed(4)] as [string, string]]),
    ['sha256', sha256],
  ];
}

function dataText({ source, config }: About): string {
  if (source !== undefined) return source;
  const { path: data } = config?.data ?? {};
  const what = data === undefined ? 'What it was trained on is not recorded.' : `Trained on \`${path.basename(data)}\`.`;
  return `${what} Where the data is from, and who owns it, nobody has written down.`;
}

/** What is known of the quality: records of evaluations, and what the run measured itself. */
function measurements({ evaluations, metrics, config }: About): Measured[] {
  const trainedOn = path.basename(config?.data.path ?? 'training data');
  const online = metrics.findLast((line) => line.evaluation !== undefined);
  const heldOut = metrics.findLast((line) => line.validation !== undefined);
  const validated = config?.validation;
  return [
    ...evaluations.flatMap(({ samples, reference, network, metrics }) => {
      const against = reference === undefined ? '' : ` against ${reference.count.toLocaleString('en')} images`;
      const how = `${samples.count.toLocaleString('en')} samples${against}, ${network.description}`;
      const dataset = reference === undefined ? trainedOn : path.basename(reference.path);
      return metricRows(network.name, metrics).map((row) => ({ ...row, how, dataset }));
    }),
    ...Object.entries(online?.evaluation ?? {}).map(([name, value]) => ({
      ...{ name, value, text: value.toPrecision(4), dataset: trainedOn },
      how: `online, step ${online!.step}, ${config?.evaluation?.samples ?? 'unknown number of'} samples`,
    })),
    ...(heldOut === undefined
      ? []
      : [
          {
            ...{ name: 'held-out loss', value: heldOut.validation!.loss, text: heldOut.validation!.loss.toFixed(4) },
            how: `step ${heldOut.step}, ${validated?.samples ?? 'unknown number of'} images`,
            dataset: path.basename(validated?.path ?? trainedOn),
          },
        ]),
  ];
}

const evaluationText = (measured: readonly Measured[]): string =>
  measured.length === 0
    ? 'These weights have not been evaluated.'
    : table(
        ['measure', 'value', 'how', 'data'],
        measured.map(({ name, text, how, dataset }) => [name, text, how, dataset]),
      );
