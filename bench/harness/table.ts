/** Results as a table for people. */
import type { BenchmarkResult } from './benchmark.js';

/** One aligned line per result; a missing peer is a dash. */
export function formatTable(results: readonly BenchmarkResult[]): string {
  const number = (x: number | null): string => (x === null ? '-' : x >= 100 ? x.toFixed(0) : x.toFixed(2));
  const rows = [
    ['name', 'value', 'unit', 'peer', 'ratio'],
    ...results.map((r) => [r.name, number(r.value), r.unit, number(r.peer), r.ratio === null ? '-' : `${r.ratio.toFixed(2)}x`]),
  ];
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const numeric = [1, 3, 4];
  return rows
    .map((row) =>
      row
        .map((cell, i) => (numeric.includes(i) ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
