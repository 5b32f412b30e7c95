/** `report.html`: the curves, the samples and the experts' load of a run in one page, without external requests. */
import path from 'node:path';
import { countWeights, expertKinds } from '@dit-moe/dit';
import { escapeHtml } from '@dit-moe/kit';
import { writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import YAML from 'yaml';
import type { TrainConfig } from '../config/schema.js';
import type { MetricsLine } from '../training/metrics-log.js';
import { type LayerMeasure, layerMeasures, measureOf } from '../training/routing.js';
import { curve, lossByTime } from './charts.js';
import { coActivationMap, kindCurves, loadMap, measureCurves, timestepMap } from './expert-charts.js';
import { type RunData, readRun } from './run-data.js';

/** Writes the report of a run, whole or not at all. */
export async function writeReport(out: string): Promise<void> {
  await writeFileAtomically(path.join(out, 'report.html'), renderReport(await readRun(out)));
}

const style = `
:root { color-scheme: light dark; --accent: #2f6fde; --quiet: #8883; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2rem; border-bottom: 1px solid var(--quiet); }
.row { display: flex; flex-wrap: wrap; gap: 1rem; align-items: end; } figure { margin: 0; }
svg, img { max-width: 100%; height: auto; } img { image-rendering: pixelated; } svg { background: none; overflow: visible; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .5rem 1rem; margin: 1rem 0; }
dt { font-size: .85em; opacity: .75; } dd { margin: 0; font-size: 1.2em; font-variant-numeric: tabular-nums; }
pre { overflow: auto; background: var(--quiet); padding: 1rem; border-radius: 6px; } summary { cursor: pointer; }`;

/**
 * The page.
 * @param script put at its end, for a page that follows the run
 */
export function renderReport({ name, config, card, metrics, previews, routing }: RunData, script = ''): string {
  const last = metrics.at(-1);
  const format = (value: number | null | undefined, digits: number): string => value?.toFixed(digits) ?? '–';
  const evaluations = [...new Set(metrics.flatMap(({ evaluation }) => Object.keys(evaluation ?? {})))];
  const measures = Object.keys(layerMeasures) as LayerMeasure[];
  const silent = measures.filter((measure) => metrics.every((line) => line.routing.every((layer) => measureOf(layer, measure) === 0)));
  const kinds = expertKinds(card.config);
  const coActivation = routing === undefined ? '' : coActivationMap(routing, kinds);
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
<div class="row">${previews.map(({ step, source }) => `<figure><img alt="Samples after step ${step}" src="${source}"><figcaption>step ${step.toLocaleString('en')}</figcaption></figure>`).join('\n')}</div>`,
    ],
    [
      'Training',
      `<div class="row">${[
        curve(metrics, 'loss', (l) => l.loss, { log: true, smooth: true }),
        curve(metrics, 'gradient norm', (l) => l.gradNorm, { log: true, smooth: true }),
        curve(metrics, 'learning rate', (l) => l.learningRate),
        curve(metrics, 'images per second', (l) => l.imagesPerSecond),
        curve(metrics, 'memory (MiB)', (l) => l.memory),
        curve(metrics, 'waited for data (%)', (l) => 100 * l.stall),
        card.config.moe === undefined ? '' : curve(metrics, 'balance loss', (l) => l.balance, { smooth: true }),
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
<div class="row">${curve(metrics, 'held-out loss', (l) => l.validation?.loss)}
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
<div class="row">${evaluations.map((key) => curve(metrics, key, (l) => l.evaluation?.[key])).join('\n')}</div>`,
    ],
    [
      'Load of the experts',
      card.config.moe === undefined || metrics.length === 0
        ? ''
        : `<p>Share of each layer's tokens that an expert gets; an even load is ${(100 / card.config.moe.numExperts).toFixed(0)} %, darker is more.</p>
${loadMap(metrics, kinds)}<div class="row">${[...kindCurves(metrics), ...measures.map((measure) => measureCurves(metrics, measure))].join('\n')}</div>
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
<dl>${Object.entries(facts)
    .map(([key, value]) => `<div><dt>${key}</dt><dd>${value}</dd></div>`)
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
