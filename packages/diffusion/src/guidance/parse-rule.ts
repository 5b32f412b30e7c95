/** Rules of guidance by a word and numbers, as command lines, requests and configurations have them. */
import { ArgumentError } from '@dit-moe/tensor-ops';
import type { Prediction } from '../predictions.js';
import { checkWord } from '../words.js';
import { adaptiveProjection, cfgZeroStar, extrapolate, type GuidanceRule, rescaled } from './rules.js';

/** A rule that can be asked for by name. */
export interface GuidanceRuleRow {
  /** One line for people: what it does, and when to use it. */
  title: string;
  /** Its numbers, with their defaults; undefined: not limited. */
  numbers: Readonly<Record<string, number | undefined>>;
  /** Only models of a flow have what it works on. */
  flowOnly?: true;
  make(numbers: Readonly<Record<string, number | undefined>>, prediction: Prediction): GuidanceRule & { dispose?(): void };
}

/**
 * The rules by name. All cost the same: within the interval of guidance the model is asked for both predictions, twice the work of a step;
 * what joins them is a few operations on samples.
 */
export const guidanceRules = {
  cfg: {
    title: 'classifier-free guidance as published: away from the worse prediction; the default',
    numbers: {},
    make: () => extrapolate,
  },
  'cfg-zero': {
    title: 'CFG-Zero*: the worse prediction is scaled to fit, and the first steps stand still; for flow models, above all young ones',
    numbers: { zeroAbove: 0.99 },
    flowOnly: true,
    make: ({ zeroAbove }, prediction) => cfgZeroStar(zeroAbove, prediction),
  },
  rescale: {
    title: 'brings contrast back to that without guidance; against over-exposure at scales above 4',
    numbers: { share: 0.7 },
    make: ({ share }) => rescaled(share),
  },
  apg: {
    title: 'adaptive projection: only what is orthogonal to the sample is enlarged; against saturated colours at large scales',
    numbers: { parallel: 0, largest: undefined, momentum: 0 },
    make: (numbers, prediction) => adaptiveProjection({ ...numbers, prediction }),
  },
} as const satisfies Record<string, GuidanceRuleRow>;
/** Name of a rule of `guidanceRules`. */
export type GuidanceRuleName = keyof typeof guidanceRules;

/**
 * A rule from text: its name and, after a colon, numbers that differ from its defaults, such as `rescale:share=0.5` or
 * `apg:momentum=-0.5,largest=2.5`. One rule per run: `apg` with momentum remembers the step before, and its `dispose` frees that.
 * @param prediction what the model predicts (default `velocity`)
 * @throws ArgumentError on an unknown word, with the nearest known one, and on numbers out of range
 */
export function parseGuidanceRule(text: string, prediction: Prediction = 'velocity'): GuidanceRule & { dispose?(): void } {
  const { row, numbers } = readRule(text);
  return row.make(numbers, prediction);
}

/**
 * Refuses a rule that cannot be read or does not fit.
 * @param use `flow`: the model is one of a flow, not of Gaussian diffusion; `evaluationsPerStep`: those of the solver
 * @throws ArgumentError as {@link parseGuidanceRule}; for a rule of flows and another model; for momentum, which goes from step to step,
 *   with a solver that asks the model more than once in a step
 */
export function checkGuidanceRule(text: string, use: { flow: boolean; evaluationsPerStep: number }): void {
  const { name, row, numbers } = readRule(text);
  row.make(numbers, 'velocity');
  if (row.flowOnly && !use.flow)
    throw new ArgumentError(WHERE, 'another rule for a model of Gaussian diffusion: this one is of flows', name);
  if ((numbers['momentum'] ?? 0) !== 0 && use.evaluationsPerStep > 1)
    throw new ArgumentError(`${WHERE} ${name}`, 'no momentum with a solver of several evaluations per step', numbers['momentum']);
}

const WHERE = 'guidance rule';

function readRule(text: string): { name: GuidanceRuleName; row: GuidanceRuleRow; numbers: Record<string, number | undefined> } {
  const [name, ...rest] = text.split(':');
  checkWord(WHERE, name, Object.keys(guidanceRules));
  const row: GuidanceRuleRow = guidanceRules[name as GuidanceRuleName];
  const known = Object.keys(row.numbers);
  const numbers = { ...row.numbers };
  for (const part of rest.join(':').split(',')) {
    if (part.trim() === '' && rest.join('').trim() === '') continue;
    const [key, value, ...more] = part.split('=').map((word) => word.trim());
    if (known.length === 0) throw new ArgumentError(`${WHERE} ${name}`, 'no numbers', part);
    checkWord(`${WHERE} ${name}`, key, known);
    const number = value === undefined || value === '' || more.length > 0 ? Number.NaN : Number(value);
    if (!Number.isFinite(number)) throw new ArgumentError(`${WHERE} ${name}: ${key}`, 'a number', part);
    numbers[key] = number;
  }
  return { name: name as GuidanceRuleName, row, numbers };
}
