/**
 * How often each expert is chosen: by class, by place in the image, by time, and together with which others, per layer. This is
 * the analysis of DiT-MoE (Fei et al. 2024, section 3.4), whose experts specialise by place and time, hardly by class.
 */
import type { RoutedBatch } from '@dit-moe/pipeline';

/** Counts of one layer; all tables have a row for each expert. */
export interface LayerCounts {
  /** Tokens that chose each expert, `[E]`. */
  load: number[];
  /** By label, `[E][classes]`. */
  byClass: number[][];
  /** By token, row by row, `[E][tokens]`. */
  byPosition: number[][];
  /** By time, the noisiest first, `[E][times]`. */
  byTime: number[][];
  /** How many tokens chose both experts, `[E][E]`; the diagonal is the load. */
  coActivation: number[][];
  /** Tokens by their number of experts, `[E + 1]`. */
  perToken: number[];
}

export interface RoutingCounts {
  /** Patches per column and row. */
  grid: readonly [number, number];
  classNames: readonly string[];
  /** Times of the evaluations, falling from 1 (noise). */
  times: number[];
  /** Evaluations times images. */
  evaluations: number;
  layers: LayerCounts[];
}

const table = (rows: number, columns: number): number[][] => Array.from({ length: rows }, () => Array<number>(columns).fill(0));

/** Counts batches on the host. Unconditional images, which guidance adds, are left out: they have no class. */
export class RoutingCounter {
  readonly counts: RoutingCounts;
  private readonly tokens: number;

  /** @param numExperts of each layer */
  constructor(
    private readonly numExperts: number,
    grid: readonly [number, number],
    classNames: readonly string[],
  ) {
    this.tokens = grid[0] * grid[1];
    this.counts = { grid, classNames, times: [], evaluations: 0, layers: [] };
  }

  add({ layers, labels, time }: RoutedBatch): void {
    const { counts, tokens, numExperts } = this;
    const { classNames, times } = counts;
    let column = times.indexOf(time);
    if (column < 0) {
      column = times.push(time) - 1;
      for (const { byTime } of counts.layers) for (const row of byTime) row.push(0);
    }
    while (counts.layers.length < layers.length)
      counts.layers.push({
        load: Array<number>(numExperts).fill(0),
        byClass: table(numExperts, classNames.length),
        byPosition: table(numExperts, tokens),
        byTime: table(numExperts, times.length),
        coActivation: table(numExperts, numExperts),
        perToken: Array<number>(numExperts + 1).fill(0),
      });
    counts.evaluations += labels.filter((label) => label < classNames.length).length;
    for (const [l, chosen] of layers.entries()) {
      const { load, byClass, byPosition, byTime, coActivation, perToken } = counts.layers[l];
      const slots = chosen.length / (labels.length * tokens);
      for (const [b, label] of labels.entries()) {
        if (label >= classNames.length) continue;
        for (let token = 0; token < tokens; token++) {
          const first = (b * tokens + token) * slots;
          let number = 0;
          for (let i = first; i < first + slots; i++) {
            const expert = chosen[i];
            // Layers whose tokens have a varying number of experts mark empty slots with this.
            if (expert >= numExperts) continue;
            number++;
            load[expert]++;
            byClass[expert][label]++;
            byPosition[expert][token]++;
            byTime[expert][column]++;
            for (let j = first; j < first + slots; j++) if (chosen[j] < numExperts) coActivation[expert][chosen[j]]++;
          }
          perToken[number]++;
        }
      }
    }
  }
}

/** Mean number of experts of a token. */
export const meanPerToken = ({ load, perToken }: Pick<LayerCounts, 'load' | 'perToken'>): number =>
  load.reduce((a, b) => a + b, 0) /
  Math.max(
    1,
    perToken.reduce((a, b) => a + b, 0),
  );

/** Whether tokens have different numbers of experts. */
export const varies = ({ layers }: RoutingCounts): boolean =>
  new Set(layers.flatMap(({ perToken }) => perToken.flatMap((n, number) => (n > 0 ? [number] : [])))).size > 1;

/** Share of each column's total that each row has; 0 in an empty column. */
export function columnShares(rows: readonly (readonly number[])[]): number[][] {
  const totals = rows[0].map((_, column) => rows.reduce((sum, row) => sum + row[column], 0));
  return rows.map((row) => row.map((n, column) => (totals[column] === 0 ? 0 : n / totals[column])));
}

/**
 * How far the choice of expert depends on the column: mutual information of expert and column over the entropy of the expert,
 * in [0, 1]. 0: every column uses the experts alike; 1: the column determines the expert.
 */
export function specialisation(rows: readonly (readonly number[])[]): number {
  const total = rows.flat().reduce((a, b) => a + b, 0);
  if (total === 0) return 0;
  const sums = rows.map((row) => row.reduce((a, b) => a + b, 0) / total);
  const entropy = -sums.reduce((sum, p) => sum + (p === 0 ? 0 : p * Math.log(p)), 0);
  if (entropy === 0) return 0;
  let information = 0;
  for (let column = 0; column < rows[0].length; column++) {
    const share = rows.reduce((sum, row) => sum + row[column], 0) / total;
    for (const [e, row] of rows.entries()) {
      const joint = row[column] / total;
      if (joint > 0) information += joint * Math.log(joint / (share * sums[e]));
    }
  }
  return Math.max(0, information) / entropy;
}

/** Entropy of the load over log E, in [0, 1]; 1 at perfect balance. */
export function evenness(load: readonly number[]): number {
  const total = load.reduce((a, b) => a + b, 0);
  if (load.length < 2 || total === 0) return 1;
  return load.reduce((sum, n) => sum + (n === 0 ? 0 : (n / total) * Math.log(total / n)), 0) / Math.log(load.length);
}
