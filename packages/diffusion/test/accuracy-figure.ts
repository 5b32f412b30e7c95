/**
 * Draws docs/figures/diffusion-accuracy.png, the error of the solvers without fresh noise against evaluations, from what
 * `pnpm bench diffusion-accuracy --json` prints on its standard input.
 */
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import sharp from 'sharp';

interface Point {
  kind: string;
  solver: string;
  evaluations: number;
  error: number;
}

const { results } = JSON.parse(fs.readFileSync(0, 'utf8')) as { results: { name: string; value: number; unit: string }[] };
const points = results
  .filter(({ unit }) => unit === 'rms')
  .map(({ name, value }): Point => {
    const [kind, solver, evaluations] = name.split(' ') as [string, string, string];
    return { kind: kind === 'flow' ? 'Flow model' : 'Gaussian model', solver, evaluations: Number(evaluations), error: value };
  });
/** Names at the ends of the lines, moved down where one would cover another. */
const labels = ['Flow model', 'Gaussian model'].flatMap((kind) => {
  const last = points.filter((point, i) => point.kind === kind && points[i + 1]?.solver !== point.solver);
  let above = Number.POSITIVE_INFINITY;
  return last
    .sort((a, b) => b.error - a.error)
    .map((point) => {
      above = Math.min(point.error, above * 0.77);
      return { ...point, error: above };
    });
});
const { document } = parseHTML('<html><body></body></html>');
const shared = { x: 'evaluations', y: 'error', fx: 'kind', stroke: 'solver' } as const;
const svg = Plot.plot({
  document,
  width: 900,
  height: 420,
  marginLeft: 60,
  marginRight: 80,
  style: { fontSize: '12px', background: 'white' },
  x: { type: 'log', label: 'evaluations of the model', ticks: [6, 10, 16, 20, 50], tickFormat: 'd' },
  y: { type: 'log', label: 'root mean square error', grid: true, ticks: 4, tickFormat: (error: number) => String(error) },
  fx: { label: null },
  color: { scheme: 'Observable10' },
  marks: [
    Plot.frame({ stroke: '#ccc' }),
    Plot.line(points, shared),
    Plot.dot(points, { ...shared, r: 2.5 }),
    Plot.text(labels, { x: 'evaluations', y: 'error', fx: 'kind', fill: 'solver', text: 'solver', dx: 6, textAnchor: 'start' }),
  ],
});
svg.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
await sharp(Buffer.from(svg.outerHTML), { density: 108 })
  .png({ palette: true })
  .toFile(fileURLToPath(new URL('../../../docs/figures/diffusion-accuracy.png', import.meta.url)));
