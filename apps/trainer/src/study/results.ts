/** What a study has found: numbers of every run, and differences of runs of the same seed. */
import { formatTable } from '@dit-moe/kit';
import type { Study } from './study.js';

/** What one run has come to. */
export interface RunResult {
  arm: string;
  seed: number;
  /** Held-out loss at the end, and by equal parts of the times. */
  loss: number;
  byTime: readonly number[];
  /** Online metrics at the end, if the configuration asks for some. */
  evaluation?: Readonly<Record<string, number>>;
  /** Mean training loss since the line of metrics before the last. */
  trainingLoss: number;
  /** Mean over layers of the coefficient of variation of the experts' load; none for dense models. */
  loadVariation?: number;
  /** Experts that no token came to since the line before the last, over all layers. */
  deadExperts?: number;
  parameters: number;
  activeParameters: number;
  /** Giga multiply-accumulates of one image's forward pass. */
  gmac: number;
  seconds: number;
}

/** A mean over seeds, and its standard error where there are several. */
export interface Estimate {
  mean: number;
  error?: number;
}

export interface ArmResult {
  arm: string;
  runs: readonly RunResult[];
  loss: Estimate;
  /** Loss minus that of the arm compared with, of runs of the same seed; none for that arm itself. */
  difference?: Estimate & { bySeed: Readonly<Record<number, number>> };
}

export interface StudyResults {
  format: 1;
  name?: string;
  expected?: string;
  against: string;
  seeds: readonly number[];
  arms: readonly ArmResult[];
  /** What it was computed on. */
  machine: { processor: string; cores: number; memoryGiB: number; node: string };
}

export function estimate(values: readonly number[]): Estimate {
  const n = values.length;
  const mean = values.reduce((a, b) => a + b, 0) / n;
  if (n < 2) return { mean };
  const variance = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (n - 1);
  return { mean, error: Math.sqrt(variance / n) };
}

/** Arms with at least one finished run, in the order of the study. */
export function compareArms({ arms, against }: Pick<Study, 'arms' | 'against'>, runs: readonly RunResult[]): ArmResult[] {
  const reference = new Map(runs.filter(({ arm }) => arm === against).map(({ seed, loss }) => [seed, loss]));
  return arms.flatMap((arm): ArmResult[] => {
    const own = runs.filter((run) => run.arm === arm).sort((a, b) => a.seed - b.seed);
    if (own.length === 0) return [];
    const pairs = arm === against ? [] : own.filter(({ seed }) => reference.has(seed));
    const bySeed = Object.fromEntries(pairs.map(({ seed, loss }) => [seed, loss - reference.get(seed)!]));
    return [
      {
        ...{ arm, runs: own, loss: estimate(own.map(({ loss }) => loss)) },
        ...(pairs.length > 0 && { difference: { ...estimate(Object.values(bySeed)), bySeed } }),
      },
    ];
  });
}

const million = (n: number): string => `${(n / 1e6).toFixed(2)} M`;
const plusMinus = ({ mean, error }: Estimate, digits: number): string =>
  `${mean.toFixed(digits)}${error === undefined ? '' : ` +- ${error.toFixed(digits)}`}`;

/** The table for people: an arm a line. */
export function formatResults({ name, expected, against, arms, seeds }: StudyResults): string {
  const metrics = [...new Set(arms.flatMap(({ runs }) => runs.flatMap(({ evaluation = {} }) => Object.keys(evaluation))))];
  const head = ['arm', 'parameters', 'active', 'MMAC', 'seeds', 'held-out loss', `against ${against}`, ...metrics, 'minutes'];
  const rows = arms.map(({ arm, runs, loss, difference }) => {
    const [{ parameters, activeParameters, gmac }] = runs;
    const sign = difference === undefined ? '' : difference.mean < 0 ? '' : '+';
    return [
      arm,
      million(parameters),
      million(activeParameters),
      (1000 * gmac).toFixed(1),
      `${runs.length}/${seeds.length}`,
      plusMinus(loss, 4),
      difference === undefined ? '' : sign + plusMinus(difference, 4),
      ...metrics.map((metric) => plusMinus(estimate(runs.flatMap(({ evaluation }) => evaluation?.[metric] ?? [])), 3)),
      (runs.reduce((sum, { seconds }) => sum + seconds, 0) / runs.length / 60).toFixed(1),
    ];
  });
  const table = formatTable([head, ...rows], (column) => column > 0);
  return [...(name === undefined ? [] : [name]), ...(expected === undefined ? [] : [`Expected: ${expected}`]), table].join('\n');
}
