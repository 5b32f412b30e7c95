/** Which differences count, and what they make of a claim. */
import { type Estimate, estimate, type RunResult } from '../apps/trainer/src/study/results.js';
import { type Claim, type Measure, type Order, sameArm } from './claims.js';

/** What an order has come to. */
export interface Verdict extends Order {
  /** By how much the better arm is better, of runs of the same seed: a difference of losses or shares, or a ratio of variations. */
  advantage?: Estimate;
  /** What the advantage must exceed. */
  needed?: number;
  seeds: readonly number[];
  says: 'as expected' | 'the other way round' | 'no difference seen' | 'not run yet';
}

/** A load that is so many times as uneven counts. */
const VARIATION_RATIO = 2;
/** So much of the samples counts: twice the deviation of the difference of two shares of 500. */
const SHARE = 0.06;

/** Deviation of the difference between two trainings that differ in their seed only; absent with fewer than two. */
export function deviationOfChance(runs: readonly RunResult[]): number | undefined {
  const losses = runs.filter(({ arm }) => arm === sameArm).map(({ loss }) => loss);
  const { error } = estimate(losses);
  return error === undefined ? undefined : error * Math.sqrt(2 * losses.length);
}

/** Share of the samples of a run that the classifier tells right, if they were judged. */
export const toldRight = ({ evaluation = {} }: RunResult): number | undefined =>
  Object.entries(evaluation).find(([name]) => name.startsWith('online/accuracy'))?.[1];

const measures: Readonly<Record<Measure, (better: RunResult, worse: RunResult) => number>> = {
  loss: (better, worse) => worse.loss - better.loss,
  loadVariation: (better, worse) => worse.loadVariation! / better.loadVariation!,
  accuracy: (better, worse) => toldRight(better)! - toldRight(worse)!,
};

export function judgeOrder(order: Order, seeds: readonly number[], runs: readonly RunResult[]): Verdict {
  const find = (arm: string, seed: number) => runs.find((run) => run.arm === arm && run.seed === seed);
  const pairs = seeds.flatMap((seed) => {
    const [better, worse] = [find(order.better, seed), find(order.worse, seed)];
    return better === undefined || worse === undefined ? [] : [{ seed, value: measures[order.by](better, worse) }];
  });
  const chance = deviationOfChance(runs);
  if (pairs.length === 0 || (order.by === 'loss' && chance === undefined)) return { ...order, seeds: [], says: 'not run yet' };
  const advantage = estimate(pairs.map(({ value }) => value));
  const needed = { loss: (2 * (chance ?? 0)) / Math.sqrt(pairs.length), loadVariation: VARIATION_RATIO, accuracy: SHARE }[order.by];
  const reverse = order.by === 'loadVariation' ? 1 / needed : -needed;
  const says = advantage.mean > needed ? 'as expected' : advantage.mean < reverse ? 'the other way round' : 'no difference seen';
  return { ...order, advantage, needed, seeds: pairs.map(({ seed }) => seed), says };
}

/** All orders of a claim, and whether it holds here; that is open until all seeds have been run. */
export function judgeClaim({ expected, seeds }: Claim, runs: readonly RunResult[]): { verdicts: Verdict[]; holds: boolean | undefined } {
  const verdicts = expected.map((order) => judgeOrder(order, seeds, runs));
  const isComplete = verdicts.every((verdict) => verdict.seeds.length === seeds.length);
  return { verdicts, holds: isComplete ? verdicts.every(({ says }) => says === 'as expected') : undefined };
}
