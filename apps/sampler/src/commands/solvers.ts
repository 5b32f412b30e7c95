/** `solvers`: the table of solvers. */
import { type Solver, solvers } from '@dit-moe/diffusion';
import { exitCodes, formatTable } from '@dit-moe/kit';

/** Prints the table and returns the exit code. */
export function solversCommand({ json }: { json: boolean }): number {
  const all = Object.entries(solvers as Record<string, Solver>).map(([name, solver]) => ({ name, ...solver }));
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
  console.log(json ? JSON.stringify(all) : formatTable(rows));
  return exitCodes.ok;
}
