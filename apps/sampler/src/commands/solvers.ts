/** `solvers`: the table of solvers. */
import { type Solver, solvers } from '@dit-moe/diffusion';

/** The table as text or JSON. */
export function solverTable(json: boolean): string {
  const all = Object.entries(solvers as Record<string, Solver>).map(([name, solver]) => ({ name, ...solver }));
  if (json) return JSON.stringify(all);
  const rows = [
    ['name', 'kind', 'order', 'evaluations/step', 'steps', 'grid', ''],
    ...all.map(({ name, kind, order, evaluationsPerStep, steps, grid, title }) => [
      name,
      kind,
      String(order),
      String(evaluationsPerStep),
      steps === undefined ? 'by error' : String(steps),
      grid,
      title,
    ]),
  ];
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
