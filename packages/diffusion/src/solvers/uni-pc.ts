/**
 * UniPC (Zhao et al. 2023), multistep, predicting clean samples: UniP predicts as DPM-Solver++ does, UniC corrects with the
 * evaluation that the next step needs anyway, which raises the order by one.
 */
import { ArgumentError } from '@dit-moe/tensor-ops';
import type { NoiseLevel } from '../paths.js';
import { checkWord } from '../words.js';
import { stepWidths, usableOrder } from './dpm-solver.js';
import { type LinearStep, pairs } from './linear-steps.js';

/** Order and variant of UniPC. */
export interface UniPcOptions {
  /** Predictions used by UniP, 1, 2 or 3 (default 2, advised for guided sampling; 3 for unconditional). */
  order?: 1 | 2 | 3;
  /** B(h) = h (`bh1`) or e^h - 1 (`bh2`, default: better at few steps). */
  variant?: 'bh1' | 'bh2';
}

/**
 * Steps of UniPC, one evaluation each.
 * @throws ArgumentError on another order or variant
 */
export function uniPcSteps(levels: readonly NoiseLevel[], { order = 2, variant = 'bh2' }: UniPcOptions = {}): LinearStep[] {
  if (![1, 2, 3].includes(order)) throw new ArgumentError('uniPc: order', '1, 2 or 3', order);
  checkWord('uniPc: variant', variant, ['bh1', 'bh2']);
  const widths = stepWidths(levels);
  return pairs(levels).map(([from, to], i) => {
    const h = widths[i];
    // Few steps remain: the last ones are of low order, as in the paper's code.
    const used = usableOrder(widths, i, Math.min(order, widths.length - i));
    const x = to.sigma / from.sigma;
    const phi1 = Math.expm1(-h);
    if (!Number.isFinite(h)) return { from, to, predict: { x, clean: [-to.alpha * phi1] } };
    const b = variant === 'bh1' ? -h : phi1;
    // Places of the older predictions relative to this step, and then of the one at its end.
    const nodes: number[] = [];
    for (let j = 1, sum = 0; j < used; j++) nodes.push((sum -= widths[i - j]) / h);
    const moments: number[] = [];
    for (let k = 1, phi = phi1 / -h - 1, factorial = 1; k <= used; k++) {
      moments.push((phi * factorial) / b);
      factorial *= k + 1;
      phi = phi / -h - 1 / factorial;
    }
    /** Weights `-alpha B(h) rho_k / r_k` of the differences from the newest prediction. */
    const differences = (places: readonly number[], rhos: readonly number[]) => rhos.map((rho, k) => (-to.alpha * b * rho) / places[k]);
    const older = differences(nodes, used === 2 ? [0.5] : solve(nodes, moments.slice(0, used - 1)));
    const all = differences([...nodes, 1], used === 1 ? [0.5] : solve([...nodes, 1], moments));
    const sum = (values: readonly number[]) => values.reduce((a, v) => a + v, 0);
    const first = -to.alpha * phi1;
    return {
      from,
      to,
      predict: { x, clean: [first - sum(older), ...older] },
      correct: { x, clean: [all.at(-1)!, first - sum(all), ...all.slice(0, -1)] },
      reuse: true,
    };
  });
}

/** Solves the Vandermonde system `sum_k nodes_k^i rho_k = moments_i` by elimination. */
function solve(nodes: readonly number[], moments: readonly number[]): number[] {
  const n = nodes.length;
  const rows = moments.map((moment, i) => [...nodes.map((node) => node ** i), moment]);
  for (let column = 0; column < n; column++) {
    const pivot = rows.slice(column).reduce((best, row) => (Math.abs(row[column]) > Math.abs(best[column]) ? row : best));
    rows.splice(rows.indexOf(pivot), 1);
    rows.splice(column, 0, pivot);
    for (const row of rows) {
      if (row === pivot) continue;
      const factor = row[column] / pivot[column];
      for (let k = column; k <= n; k++) row[k] -= factor * pivot[k];
    }
  }
  return rows.map((row, i) => row[n] / row[i]);
}
