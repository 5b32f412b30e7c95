/** What the page's form offers: solvers, and rules of guidance. */
import { type GuidanceRuleRow, guidanceRules, type Solver, solvers } from '@dit-moe/diffusion';

interface SolverChoice {
  name: string;
  title: string;
  /** Default number of steps; absent where the solver chooses. */
  steps?: number;
}

export interface RuleChoice {
  name: string;
  title: string;
  /** Its numbers with their defaults; null: not limited. */
  numbers: Readonly<Record<string, number | null>>;
}

export interface Choices {
  solvers: readonly SolverChoice[];
  rules: readonly RuleChoice[];
}

export const choices: Choices = {
  solvers: Object.entries(solvers as Record<string, Solver>).map(([name, { title, steps }]) => ({
    name,
    title,
    ...(steps !== undefined && { steps }),
  })),
  rules: Object.entries(guidanceRules as Record<string, GuidanceRuleRow>).map(([name, { title, numbers }]) => ({
    name,
    title,
    numbers: Object.fromEntries(Object.entries(numbers).map(([key, value]) => [key, value ?? null])),
  })),
};
