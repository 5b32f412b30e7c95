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
    make: ({ zeroAbove }) => cfgZeroStar(zeroAbove),
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
export type GuidanceRuleName = keyof typeof guidanceRules;

/**
 * A rule from text: its name and, after a colon, numbers that differ from its defaults, such as `rescale:share=0.5` or
 * `apg:momentum=-0.5,largest=2.5`. One rule per run: `apg` with momentum remembers the step before, and its `dispose` frees that.
 * @param prediction what the model predicts (default `velocity`)
 * @throws ArgumentError on an unknown word, with the nearest known one, and on numbers out of range
 */
export function parseGuidanceRule(text: string, prediction: Prediction = 'velocity'): GuidanceRule & { dispose?(): void } {
  const where = 'guidance rule';
  const [name, ...rest] = text.split(':');
  checkWord(where, name, Object.keys(guidanceRules));
  const row: GuidanceRuleRow = guidanceRules[name as GuidanceRuleName];
  const known = Object.keys(row.numbers);
  const numbers = { ...row.numbers };
  for (const part of rest.join(':').split(',')) {
    if (part.trim() === '' && rest.join('').trim() === '') continue;
    const [key, value, ...more] = part.split('=').map((word) => word.trim());
    if (known.length === 0) throw new ArgumentError(`${where} ${name}`, 'no numbers', part);
    checkWord(`${where} ${name}`, key, known);
    const number = value === undefined || value === '' || more.length > 0 ? Number.NaN : Number(value);
    if (!Number.isFinite(number)) throw new ArgumentError(`${where} ${name}: ${key}`, 'a number', part);
    numbers[key] = number;
  }
  return row.make(numbers, prediction);
}
