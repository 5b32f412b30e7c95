/** The solvers for the page's form. */
import { type Solver, solvers } from '@dit-moe/diffusion';

export interface SolverChoice {
  name: string;
  title: string;
  /** Default number of steps; absent where the solver chooses. */
  steps?: number;
}

export const solverChoices: readonly SolverChoice[] = Object.entries(solvers as Record<string, Solver>).map(([name, { title, steps }]) => ({
  name,
  title,
  ...(steps !== undefined && { steps }),
}));
