import { parseHTML } from 'linkedom';
import { expect, test } from 'vitest';
import type { MetricsLine } from '../training/metrics-log.js';
import { kindCurves, layerLegend, loadMap, measureCurves } from './expert-charts.js';

const line = (step: number, ...layers: object[]) => ({ step, routing: layers }) as MetricsLine;

test('the one legend names the layer of every line in its colour, and a measure begins where it can', () => {
  const variations = (...values: number[]) => values.map((coefficientOfVariation) => ({ coefficientOfVariation }));
  const metrics = [line(1, ...variations(0.4, 0.5, 1)), line(2, ...variations(0.4, 0.4, 0.8))];
  const { document } = parseHTML(measureCurves(metrics, 'coefficientOfVariation'));
  const ticks = [...document.querySelectorAll('[aria-label^="y-axis tick label"] text')].map(({ textContent }) => Number(textContent));
  expect(ticks[0]).toBe(0);
  const swatches = [...parseHTML(layerLegend(metrics)).document.querySelectorAll('span')];
  expect(swatches.map((swatch) => swatch.textContent.trim())).toEqual(['layer 0', 'layer 1', 'layer 2']);
  const colours = swatches.map((swatch) => swatch.querySelector('svg')!.getAttribute('fill'));
  const lines = [...document.querySelectorAll('[aria-label="line"] path')];
  expect(lines.map((path) => path.getAttribute('stroke'))).toEqual(colours);
  expect(new Set(colours).size).toBe(3);
});

test('a measure that is 0 throughout has no chart', () => {
  const dead = (...experts: number[]) => ({ deadExperts: experts });
  expect(measureCurves([line(1, dead()), line(2, dead())], 'deadExperts')).toBe('');
  expect(measureCurves([line(1, dead()), line(2, dead(3))], 'deadExperts')).toContain('no token chose');
});

test('kinds of experts have a chart each, of the layers that have several, and names on the axes', () => {
  const metrics = [0.2, 0.4].map((copy, i) => line(i + 1, { load: [1, 1] }, { load: [3, 2], kinds: { swiglu: 1 - copy, copy } }));
  const charts = kindCurves(metrics).map((chart) => parseHTML(chart).document);
  expect(charts.map((chart) => chart.querySelector('[aria-label^="share"]')!.getAttribute('aria-label'))).toEqual([
    'share of the swiglu experts over the steps, a line per layer',
    'share of the copy experts over the steps, a line per layer',
  ]);
  expect(charts.map((chart) => chart.querySelectorAll('[aria-label="line"] path').length)).toEqual([1, 1]);
  const names = (...kinds: string[][]) =>
    [...parseHTML(loadMap(metrics, kinds)).document.querySelectorAll('text')].map((t) => t.textContent);
  expect(names(['swiglu', 'copy'], ['swiglu', 'copy'])).toEqual(expect.arrayContaining(['0 swiglu', '1 copy']));
  // Layers that differ share an axis, which has numbers then.
  expect(names(['gelu', 'gelu'], ['swiglu', 'copy'])).toEqual(expect.arrayContaining(['0', '1']));
  expect(kindCurves([line(1, { load: [1, 1] })])).toEqual([]);
});
