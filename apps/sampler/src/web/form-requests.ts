/** The form's fields: what they begin with, and the requests that they mean. */
import type { Choices } from '../serve/choices.js';
import { limits, type ModelInfo, type SampleRequest } from '../serve/protocol.js';
import { fieldsOfAddress } from './address.js';
import { RefusalError } from './engine.js';
import { ruleOfText } from './guidance-rule.js';
import { pixelsOf, type Start } from './start.js';

/**
 * `compare` are ids of further models; `rule` is a rule of guidance with its numbers, as the command line has it; `guideWith` is empty
 * for the model without its label.
 */
const FIELDS = [
  ...(['model', 'compare', 'classes', 'count', 'seed', 'strength', 'solver', 'steps', 'guidance', 'rule', 'guideWith'] as const),
  ...(['from', 'to', 'cache'] as const),
] as const;
export type Fields = Record<(typeof FIELDS)[number], string>;

/** The field of each setting, by the word that errors have for it. */
const FIELD_OF: Readonly<Record<string, keyof Fields>> = {
  ...{ labels: 'classes', seed: 'seed', cache: 'cache', solver: 'solver', steps: 'steps', interval: 'from', init: 'strength' },
  ...{ 'guidance rule': 'rule', guidanceRule: 'rule', guideWith: 'guideWith', guidance: 'guidance' },
};

/** What is wrong with a field, for people. */
export class FieldError extends Error {
  constructor(
    readonly field: keyof Fields,
    message: string,
  ) {
    super(message);
  }
}

/** A refusal as one of the field that it is about; undefined if it is about none. */
export function fieldErrorOf(problem: unknown): FieldError | undefined {
  const where = problem instanceof RefusalError ? (problem.where ?? '') : '';
  const field = FIELD_OF[Object.keys(FIELD_OF).find((word) => where.includes(word)) ?? ''];
  return field && new FieldError(field, (problem as Error).message);
}

/** A whole number of the text in a range. */
function whole(field: keyof Fields, name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isInteger(value) || value < least || value > most)
    throw new FieldError(field, `${name}: expected a whole number from ${least} to ${most}.`);
  return value;
}

function decimal(field: keyof Fields, name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= least && value <= most))
    throw new FieldError(field, `${name}: expected a number from ${least} to ${most}.`);
  return value;
}

/** Which evaluations are left out; none of an empty text. */
function cacheOf(text: string): SampleRequest['cache'] {
  if (text === '' || text === 'fast' || text === 'exact') return text || undefined;
  if (/^\d+$/.test(text) && Number(text) >= 2) return Number(text);
  throw new FieldError('cache', 'Evaluations of the model: expected fast, exact, or a whole number from 2.');
}

/** Parts of a text between commas. */
const parts = (text: string): string[] =>
  text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');

/** Labels of names or numbers, separated by commas. */
function parseClassText(text: string, classNames: readonly string[]): number[] {
  return parts(text).map((part) => {
    const label = classNames.includes(part) ? classNames.indexOf(part) : Number(part);
    if (!Number.isInteger(label) || label < 0 || label >= classNames.length)
      throw new FieldError('classes', `Classes: there is no "${part}".`);
    return label;
  });
}

/** Models whose pictures can stand beside those of a model: of the same classes and size. */
export const comparable = (model: ModelInfo, models: readonly ModelInfo[]): ModelInfo[] =>
  models.filter(
    ({ id, classNames, height, width }) =>
      id !== model.id && height === model.height && width === model.width && classNames.join('\n') === model.classNames.join('\n'),
  );

/**
 * The requests of a filled form, one for each model and guidance scale.
 * @throws FieldError
 */
export function toRequests(fields: Fields, model: ModelInfo, models: readonly ModelInfo[], start: Start | undefined): SampleRequest[] {
  const classes = parseClassText(fields.classes, model.classNames);
  if (classes.length === 0) throw new FieldError('classes', 'Classes: choose at least one.');
  const count = whole('count', 'Images of each', fields.count, 1, limits.images);
  const labels = classes.flatMap((label) => Array<number>(count).fill(label));
  if (labels.length > limits.images)
    throw new FieldError('count', `${labels.length} images are too many at once: at most ${limits.images}.`);
  const scales = fields.guidance.split(',').map((text) => decimal('guidance', 'Guidance', text, -limits.guidance, limits.guidance));
  const [from, to] = [decimal('from', 'Guidance from', fields.from, 0, 1), decimal('to', 'Guidance to', fields.to, 0, 1)];
  if (from > to) throw new FieldError('from', 'Guidance: "from" must not be above "to".');
  for (const [name, value] of Object.entries(ruleOfText(fields.rule).numbers))
    if (!Number.isFinite(Number(value))) throw new FieldError('rule', `Guidance rule: expected a number for ${name}.`);
  const cache = cacheOf(fields.cache);
  if (cache !== undefined && fields.steps.trim() === '')
    throw new FieldError('cache', 'Evaluations of the model: only solvers with a number of steps can leave some out.');
  if (start !== undefined && fields.steps.trim() === '')
    throw new FieldError('solver', 'Solver: a picture to start from needs one with a number of steps.');
  const strength = fields.strength.trim() === '' ? undefined : decimal('strength', 'Strength', fields.strength, 0.01, 1);
  const others = comparable(model, models).filter(({ id }) => parts(fields.compare).includes(id));
  const chosen = [model, ...others];
  for (const { id, name, guides, encodes, guided } of chosen) {
    const way = (field: keyof Fields, what: string) => new FieldError(field, `${name} ${what}.`);
    if (fields.guideWith !== '' && id !== model.id && !guides.includes(fields.guideWith))
      throw way('guideWith', `cannot be guided with ${fields.guideWith}`);
    if (fields.guideWith === '' && !guided && scales.some((scale) => scale !== 1))
      throw way('guidance', 'can only be sampled with guidance 1');
    if (start !== undefined && !encodes) throw way('strength', 'has no autoencoder that could encode a picture to start from');
  }
  const init = start === undefined ? undefined : pixelsOf(start, model, strength);
  return chosen.flatMap(({ id, defaults }) =>
    scales.map((guidance) => ({
      model: id,
      labels,
      seed: whole('seed', 'Seed', fields.seed, 0, Number.MAX_SAFE_INTEGER),
      solver: fields.solver,
      ...(fields.steps.trim() !== '' && { steps: whole('steps', 'Steps', fields.steps, 1, limits.steps) }),
      guidance,
      ...(fields.rule !== (defaults.guidanceRule ?? 'cfg') && { guidanceRule: fields.rule }),
      ...(fields.guideWith !== '' && { guideWith: fields.guideWith }),
      ...((from > 0 || to < 1) && { interval: [from, to] as [number, number] }),
      ...(cache !== undefined && { cache }),
      ...(init !== undefined && { init }),
    })),
  );
}

/** Whether the page's address says anything of what is to be sampled. */
export const addressSays = (): boolean => Object.keys(fieldsOfAddress(location.hash, FIELDS)).length > 0;

/** The form as the page's address says, for the rest as the model is sampled by default. */
export function initialFields(models: readonly ModelInfo[], { solvers, rules }: Choices): Fields {
  const given = fieldsOfAddress(location.hash, FIELDS);
  const model = models.find(({ id }) => id === given.model) ?? models[0];
  const fields: Fields = {
    ...ofModel(model),
    count: '1',
    seed: '0',
    strength: '',
    from: '0',
    to: '1',
    cache: '',
    ...given,
    model: model.id,
  };
  if (!solvers.some(({ name }) => name === fields.solver)) fields.solver = model.defaults.solver;
  if (!rules.some(({ name }) => name === ruleOfText(fields.rule).name)) fields.rule = ofModel(model).rule;
  if (!model.guides.includes(fields.guideWith)) fields.guideWith = '';
  try {
    // Ticked classes are numbers, whatever the address calls them.
    fields.classes = parseClassText(fields.classes, model.classNames).join(', ');
  } catch {
    // Whoever presses the button is told.
  }
  return fields;
}

/** What to begin with for a model: its first classes, its own settings. */
export const ofModel = ({ id, classNames, defaults }: ModelInfo) => ({
  model: id,
  compare: '',
  classes: [...classNames.slice(0, 10).keys()].join(', '),
  solver: defaults.solver,
  steps: String(defaults.steps),
  guidance: String(defaults.guidance),
  rule: defaults.guidanceRule ?? 'cfg',
  guideWith: '',
});
