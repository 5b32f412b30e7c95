import { parseHTML } from 'linkedom';
import { expect, test } from 'vitest';
import type { MetricsLine } from '../training/metrics-log.js';
import { balanceCurves } from './charts.js';

test('the legend of the balance curves names the layer of every line in its colour', () => {
  const line = (step: number, load: number[][]) => ({ step, load }) as MetricsLine;
  const { document } = parseHTML(
    balanceCurves([
      line(1, [
        [4, 4],
        [2, 6],
        [0, 8],
      ]),
      line(2, [
        [4, 4],
        [3, 5],
        [1, 7],
      ]),
    ]),
  );
  const swatches = [...document.querySelectorAll('span')];
  expect(swatches.map((swatch) => swatch.textContent)).toEqual(['layer 0', 'layer 1', 'layer 2']);
  const colours = swatches.map((swatch) => swatch.querySelector('svg')!.getAttribute('fill'));
  const lines = [...document.querySelectorAll('[aria-label="line"] path')];
  expect(lines.map((path) => path.getAttribute('stroke'))).toEqual(colours);
  expect(new Set(colours).size).toBe(3);
});
