/** `report.html`: the curves, the samples and the experts' load of a run in one page, without external requests. */
import path from 'node:path';
import { countWeights, expertKinds, type ModelCard } from '@dit-moe/dit';
import { escapeHtml, formatDuration } from '@dit-moe/kit';
import { writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import YAML from 'yaml';
import type { TrainConfig } from '../config/schema.js';
import type { MetricsLine } from '../training/metrics-log.js';
import { type LayerMeasure, layerMeasures, measureOf } from '../training/routing.js';
import { curve, lossByTime } from './charts.js';
import { coActivationMap, kindCurves, layerLegend, loadMap, measureCurves, timestepMap } from './expert-charts.js';
import { type RunData, readRun } from './run-data.js';
import { stateOf, verdict } from './verdict.js';

/** Writes the report of a run, whole or not at all. */
export async function writeReport(out: string): Promise<void> {
  await writeFileAtomically(path.join(out, 'report.html'), renderReport(await readRun(out)));
}

/** Small samples are enlarged by a whole number until a sheet of them is so wide, in pixels. */
const LEAST_WIDTH = 240;

/** Characters of a fact that need two columns. */
const LONG = 24;

const style = `
:root { color-scheme: light dark; --accent: #2f6fde; --quiet: #8883; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2rem; border-bottom: 1px solid var(--quiet); }
.row { display: flex; flex-wrap: wrap; gap: 1rem; align-items: end; } figure { margin: 0; }
svg, img { max-width: 100%; height: auto; } img { image-rendering: pixelated; } svg { background: none; overflow: visible; }
.wide { overflow-x: auto; } .wide svg { max-width: none; }
/* There a chart is drawn smaller than it is. */
@media (max-width: 30rem) { .row svg text { font-size: 12.5px; } }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .5rem 1rem; margin: 1rem 0; }
.head { opacity: .8; } .verdict { border-left: 3px solid var(--accent); padding-left: .7rem; } .legend { display: flex; flex-wrap: wrap; gap: .3rem 1rem; }
.legend span { display: inline-flex; gap: .35rem; align-items: center; }
dl .long { grid-column: span 2; } dt { font-size: .85em; opacity: .75; } dd { margin: 0; font-size: 1.2em; font-variant-numeric: tabular-nums; }
pre { overflow: auto; background: var(--quiet); padding: 1rem; border-radius: 6px; } summary { cursor: pointer; }`;

/**
 * The page.
 * @param script put at its end, for a page that follows the run
 */
export function renderReport({ name, config, card, metrics, previews, routing, signOfLife }: RunData, script = ''): string {
  const last = metrics.at(-1);
  const format = (value: number | null | undefined, digits: number): string => value?.toFixed(digits) ?? '–';
  const evaluations = [...new Set(metrics.flatMap(({ evaluation }) => Object.keys(evaluation ?? {})))];
  const measures = Object.keys(layerMeasures) as LayerMeasure[];
  const silent = measures.filter((measure) => metrics.every((line) => line.routing.every((layer) => measureOf(layer, measure) === 0)));
  const kinds = expertKinds(card.config);
  const coActivation = routing === undefined ? '' : coActivationMap(routing, kinds);
  const state = stateOf(config, metrics, signOfLife, Date.now());
  const head = [timesOf(metrics), describeData(config, card), describeTask(config, card)].filter((text) => text !== '');
  const facts: Record<string, string> = {
    step: `${(last?.step ?? 0).toLocaleString('en')} of ${config.steps.toLocaleString('en')}`,
    loss: format(last?.loss, 4),
    'images/s': format(last?.imagesPerSecond, last !== undefined && last.imagesPerSecond < 10 ? 2 : 0),
    memory: last === undefined ? '–' : `${last.memory.toLocaleString('en')} MiB`,
    ...(last?.deviceMemory !== undefined && { 'GPU memory': `${last.deviceMemory.toLocaleString('en')} MiB` }),
    ...(last?.mfu !== undefined && { MFU: `${(100 * last.mfu).toFixed(1)} %` }),
    ...(last?.time !== undefined && {
      'ms per step': Object.entries(last.time)
        .map(([part, ms]) => `${part} ${ms.toFixed(1)}`)
        .join(', '),
    }),
    'waited for data': last === undefined ? '–' : `${(100 * last.stall).toFixed(1)} %`,
    'steps skipped': String(last?.skipped ?? 0),
    weights: countWeights(card.config).toLocaleString('en'),
    'active per token': countWeights(card.config, true).toLocaleString('en'),
  };
  const sections: [string, string][] = [
    [
      'Samples',
      previews.length === 0
        ? ''
        : `<p>One column per class (${card.classNames.slice(0, config.sampling.classes).map(escapeHtml).join(', ')}), guidance ${config.sampling.guidance}, ${config.sampling.steps} steps, average ${config.ema[0]}, fixed seeds.</p>
<div class="row">${previews.map(({ step, source, width }) => `<figure><img alt="Samples after step ${step}" src="${source}" width="${width * Math.ceil(LEAST_WIDTH / width)}"><figcaption>step ${step.toLocaleString('en')}</figcaption></figure>`).join('\n')}</div>`,
    ],
    [
      'Training',
      `<div class="row">${[
        curve(metrics, 'loss', (l) => l.loss, { log: true, smooth: true }),
        curve(metrics, 'gradient norm', (l) => l.gradNorm, { log: true, smooth: true }),
        curve(metrics, 'learning rate', (l) => l.learningRate, { range: [0] }),
        curve(metrics, 'images per second', (l) => l.imagesPerSecond, { range: [0] }),
        curve(metrics, 'memory of the process (MiB)', (l) => l.memory, { range: [0] }),
        curve(metrics, 'memory of the GPU (MiB)', (l) => l.deviceMemory, { range: [0] }),
        curve(metrics, 'waited for data (% of the time)', (l) => 100 * l.stall, { range: [0, 100] }),
        card.config.moe === undefined
          ? ''
          : curve(metrics, 'balance loss (sum of the layers; 1 each is even)', (l) => l.balance, { smooth: true, range: [0] }),
        ...[...new Set(metrics.flatMap(({ routerLosses = {} }) => Object.keys(routerLosses)))].map((name) =>
          curve(metrics, `${name} loss of the routers`, (l) => l.routerLosses?.[name], { smooth: true }),
        ),
      ].join('\n')}</div>`,
    ],
    [
      'Held-out loss',
      metrics.every(({ validation }) => validation === undefined)
        ? ''
        : `<p>Of the average ${config.ema[0]} on images that training never sees, at fixed times with fixed noise, all times alike; by time from clean images (0) to noise (1).</p>
<div class="row">${curve(metrics, 'held-out loss', (l) => l.validation?.loss, { log: true })}
${lossByTime(metrics)}</div>`,
    ],
    [
      'Distillation',
      config.distillation === undefined || last?.distillation === undefined
        ? ''
        : `<p>From ${escapeHtml(config.distillation.teacher)}. Parts of the last line's loss, without the routers': ${balanceOfTerms(
            config.distillation,
            last,
          )
            .map(([name, part]) => `${name} ${(100 * part).toFixed(0)} %`)
            .join(', ')}.</p>
<div class="row">${Object.keys(last.distillation)
            .map((name) =>
              curve(metrics, `distance of the ${name === 'hidden' ? 'hidden states' : name}`, (l) => l.distillation?.[name], {
                log: true,
                smooth: true,
              }),
            )
            .join('\n')}</div>`,
    ],
    [
      'Online metrics',
      evaluations.length === 0
        ? ''
        : `<p>From ${config.evaluation?.samples.toLocaleString('en') ?? 'a few'} samples: comparable within this run, not with published numbers.</p>
<div class="row">${evaluations.map((key) => curve(metrics, key, (l) => l.evaluation?.[key], /accuracy/.test(key) ? { range: [0, 1] } : { log: true })).join('\n')}</div>`,
    ],
    [
      'Load of the experts',
      card.config.moe === undefined || metrics.length === 0
        ? ''
        : `<p>Share of each layer's tokens that an expert gets; an even load is ${Number((100 / card.config.moe.numExperts).toFixed(1))} %, darker is more.</p>
${loadMap(metrics, kinds)}
${layerLegend(metrics)}<div class="row">${[...kindCurves(metrics), ...measures.map((measure) => measureCurves(metrics, measure))].join('\n')}</div>
<p>${silent.length === 0 ? '' : `None so far: ${silent.map((measure) => layerMeasures[measure]).join(', ')}.`}</p>`,
    ],
    [
      'Choice of the experts',
      routing === undefined
        ? ''
        : `<p>From the ${routing.steps.toLocaleString('en')} steps up to step ${routing.step.toLocaleString('en')}. Which expert is chosen at which time, from the smallest timesteps to the largest:</p>
${timestepMap(routing, kinds)}
${coActivation === '' ? '' : `<p>Which experts are chosen together: of the tokens that chose the expert of the row, the share that also chose that of the column.</p>\n${coActivation}`}`,
    ],
    ['Configuration', `<details><summary>as resolved</summary><pre>${escapeHtml(YAML.stringify(config))}</pre></details>`],
  ];
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><link rel="icon" href="data:,"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(name)}: training report</title>
<style>${style}</style>
<main>
<h1>${escapeHtml(name)}</h1>
<p class="head">${head.map(escapeHtml).join('<br>')}</p>
<p class="verdict"><strong>${escapeHtml(capitalised(state))}.</strong> ${escapeHtml(verdict(metrics).join(' '))}</p>
<dl>${Object.entries(facts)
    .map(([key, value]) => `<div${value.length > LONG ? ' class="long"' : ''}><dt>${key}</dt><dd>${value}</dd></div>`)
    .join('')}</dl>
${sections
  .filter(([, body]) => body !== '')
  .map(([title, body]) => `<h2>${title}</h2>\n${body}`)
  .join('\n')}
</main>
${script}
</html>
`;
}

const capitalised = (text: string): string => text[0].toUpperCase() + text.slice(1);

/** From when to when the lines of metrics are; nothing where they do not say. */
function timesOf(metrics: readonly MetricsLine[]): string {
  const times = metrics.flatMap(({ at }) => (at === undefined ? [] : [at]));
  if (times.length === 0) return '';
  const text = (time: number): string => `${new Date(time).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
  return times.length === 1
    ? `Measured ${text(times[0])}.`
    : `Measured from ${text(times[0])} to ${text(times.at(-1)!)}, ${formatDuration((times.at(-1)! - times[0]) / 1000)}.`;
}

function describeData({ data, batchSize, accumulation }: TrainConfig, { config, classNames }: ModelCard): string {
  const [height, width] = config.inputSize;
  const of = data.path === undefined ? '' : ` of ${data.path}`;
  const kind = data.kind === 'latents' ? 'Latents' : 'Images';
  return `${kind}${of}, ${height} x ${width} with ${config.inChannels} channel${config.inChannels === 1 ? '' : 's'}, ${classNames.length} classes; ${batchSize * accumulation} in a step.`;
}

function describeTask({ objective }: TrainConfig, { config: { moe } }: ModelCard): string {
  const prediction = objective.prediction === undefined ? '' : `, which predicts the ${objective.prediction}`;
  const experts = moe === undefined ? 'dense' : `${moe.numExperts} experts, router ${moe.router ?? 'token'}`;
  return `${objective.kind === 'flow' ? 'Flow matching' : 'Gaussian diffusion'}${prediction}; ${experts}.`;
}

/** What objective, output and hidden states have in the loss, as shares of their weighted sum. */
function balanceOfTerms(
  { weight, hidden }: NonNullable<TrainConfig['distillation']>,
  { loss, distillation = {} }: MetricsLine,
): [string, number][] {
  const parts: [string, number][] = [
    ['objective', (1 - weight) * loss],
    ['output', weight * (distillation['output'] ?? 0)],
    ['hidden states', hidden * (distillation['hidden'] ?? 0)],
  ];
  const total = parts.reduce((sum, [, part]) => sum + part, 0);
  return parts.filter(([, part]) => part !== 0).map(([name, part]) => [name, part / total]);
}
