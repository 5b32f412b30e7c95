/** `report.html`: one file with the curves, the samples and the experts' load, without external requests. */
import fs from 'node:fs/promises';
import path from 'node:path';
import type { ModelCard } from '@dit-moe/dit';
import { countWeights } from '@dit-moe/dit';
import { writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import type { TrainConfig } from '../config.js';
import type { MetricsLine } from '../training/train.js';

const escapeHtml = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

/** Writes the report of a run, whole or not at all. */
export async function writeReport(out: string, config: TrainConfig, card: ModelCard, metrics: readonly MetricsLine[]): Promise<void> {
  const { document } = parseHTML('<html><body></body></html>');
  const curve = (label: string, value: (line: MetricsLine) => number, type: 'linear' | 'log' = 'linear'): string =>
    Plot.plot({
      document,
      width: 460,
      height: 240,
      marginLeft: 60,
      x: { label: 'step' },
      y: { label, type, grid: true },
      marks: [Plot.lineY(metrics, { x: 'step', y: value, stroke: 'var(--accent)' })],
    }).outerHTML;
  const last = metrics.at(-1);
  const cells = (last?.load ?? []).flatMap((row, layer) => {
    const total = row.reduce((a, b) => a + b, 0);
    return row.map((n, expert) => ({ layer, expert, share: n / total }));
  });
  const experts = Math.max(1, last?.load[0]?.length ?? 1);
  const loadMap =
    cells.length === 0
      ? ''
      : Plot.plot({
          document,
          width: 460,
          height: 60 + 28 * (last?.load.length ?? 1),
          marginLeft: 60,
          x: { label: 'expert', type: 'band' },
          y: { label: 'layer', type: 'band' },
          color: { scheme: 'blues', domain: [0, 2 / experts], clamp: true },
          marks: [
            Plot.cell(cells, { x: 'expert', y: 'layer', fill: 'share' }),
            Plot.text(cells, { x: 'expert', y: 'layer', text: (d: { share: number }) => `${(100 * d.share).toFixed(0)}%`, fill: 'black' }),
          ],
        }).outerHTML;
  const pictures = await fs.readdir(path.join(out, 'samples')).catch(() => [] as string[]);
  const figures: string[] = [];
  for (const name of pictures
    .filter((n) => n.endsWith('.png'))
    .sort()
    .slice(-4)) {
    const bytes = await fs.readFile(path.join(out, 'samples', name));
    const step = Number(/\d+/.exec(name)?.[0]);
    figures.push(
      `<figure><img alt="Samples after step ${step}" src="data:image/png;base64,${bytes.toString('base64')}"><figcaption>step ${step}</figcaption></figure>`,
    );
  }
  const html = `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(path.basename(out))}: training report</title>
<style>
:root { color-scheme: light dark; --accent: #2f6fde; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
.row { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0 0 1rem; } svg, img { max-width: 100%; height: auto; }
img { image-rendering: pixelated; } pre { overflow: auto; }
</style>
<h1>${escapeHtml(path.basename(out))}</h1>
<p>Step ${card.step} of ${config.steps}, loss ${last?.loss.toFixed(4) ?? '–'}, ${last?.imagesPerSecond.toFixed(0) ?? '–'} images/s;
${countWeights(card.config).toLocaleString('en')} weights, ${countWeights(card.config, true).toLocaleString('en')} active per token.</p>
<h2>Samples</h2><p>One column per class (${card.classNames.slice(0, 10).map(escapeHtml).join(', ')}), guidance ${config.sampling.guidance}, ${config.sampling.steps} steps, fixed seeds.</p>
<div class="row">${figures.join('\n')}</div>
<h2>Training</h2><div class="row">${curve('loss', (l) => l.loss, 'log')}${curve('gradient norm', (l) => l.gradNorm)}
${curve('learning rate', (l) => l.learningRate)}${curve('images per second', (l) => l.imagesPerSecond)}</div>
${loadMap === '' ? '' : `<h2>Load of the experts</h2><p>Share of each layer's tokens in step ${last?.step}; an even load is ${(100 / experts).toFixed(0)}%.</p>${loadMap}`}
<h2>Configuration</h2><pre>${escapeHtml(JSON.stringify(config, null, 2))}</pre>
</html>
`;
  await writeFileAtomically(path.join(out, 'report.html'), html);
}
