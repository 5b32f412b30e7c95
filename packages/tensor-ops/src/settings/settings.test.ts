import { describe, expect, expectTypeOf, test } from 'vitest';
import { nearest } from './nearest.js';
import { parseSettings, SettingsError } from './parse.js';
import {
  either,
  type FieldsOf,
  flag,
  integer,
  list,
  number,
  object,
  optional,
  pair,
  partial,
  text,
  type ValueOf,
  variants,
  withDefault,
  within,
  word,
} from './setting.js';

interface Router {
  topK: number;
  groups?: { count: number };
}
const router = {
  topK: integer('experts per token', { least: 1 }),
  groups: optional(object({ count: integer('groups', { least: 2 }) }, 'limits the choice')),
} satisfies FieldsOf<Router>;

const settings = object({
  batchSize: withDefault(integer('samples per step', { least: 1 }), 256),
  learningRate: number('of AdamW', { above: 0 }),
  precision: optional(word(['f32', 'bf16'], 'of products')),
  ema: withDefault(list(number('decay', { least: 0, below: 1 }), 'decays', { least: 1 }), [0.5]),
  size: optional(pair(integer('side', { least: 1 }), 'height and width')),
  layers: optional(either([word(['all', 'deepHalf']), object({ every: integer('n', { least: 1 }) })], 'blocks with experts')),
  router: optional(object(partial(router), 'the router')),
  objective: withDefault(
    variants(
      'kind',
      { flow: { scale: withDefault(number('of time'), 1) }, ddpm: { steps: optional(integer('in training')) } },
      'the objective',
      'flow',
    ),
    { kind: 'flow', scale: 1 },
  ),
  name: optional(text('for people')),
  flip: withDefault(flag('mirror'), false),
});

const parse = (json: unknown) => parseSettings(settings, json, 'The configuration');
const problemsOf = (json: unknown) => {
  try {
    parse(json);
  } catch (error) {
    if (SettingsError.isInstance(error))
      return error.message
        .split('\n')
        .slice(1)
        .map((line) => line.trim());
    throw error;
  }
  return [];
};

test('defaults are filled in, what may be left out stays away', () => {
  const read = parse({ learningRate: 1e-3 });
  expect(read).toEqual({
    ...{ batchSize: 256, learningRate: 1e-3, ema: [0.5], objective: { kind: 'flow', scale: 1 }, flip: false },
  });
  expect(Object.keys(read)).not.toContain('precision');
  const again = parse({ learningRate: 1e-3 });
  again.ema.push(0.9);
  expect(parse({ learningRate: 1e-3 }).ema).toEqual([0.5]);
  expect(parse({ learningRate: 1, objective: {} }).objective).toEqual({ kind: 'flow', scale: 1 });
  expect(parse({ learningRate: 1, objective: { kind: 'ddpm', steps: 10 } }).objective).toEqual({ kind: 'ddpm', steps: 10 });
});

test('types follow from the settings', () => {
  type Read = ValueOf<typeof settings>;
  expectTypeOf<Read['batchSize']>().toEqualTypeOf<number>();
  expectTypeOf<Read['precision']>().toEqualTypeOf<'f32' | 'bf16' | undefined>();
  expectTypeOf<Read['layers']>().toEqualTypeOf<'all' | 'deepHalf' | { every: number } | undefined>();
  expectTypeOf<{
    learningRate: number;
    batchSize: number;
    ema: number[];
    flip: boolean;
    objective: { kind: 'flow'; scale: number };
  }>().toExtend<Read>();
});

describe('what is wrong is said with its path, what was expected and found', () => {
  test.each<[unknown, ...string[]]>([
    [{ learningRate: 1, batchsize: 3 }, 'batchsize: is not a setting. Did you mean batchSize?'],
    [{ learningRate: 1, batch_size: 3 }, 'batch_size: is not a setting. Did you mean batchSize?'],
    [{ learningRate: 1, router: { topk: 3 } }, 'router.topk: is not a setting. Did you mean router.topK?'],
    [{ learningRate: 1, router: { zzz: 3 } }, 'router.zzz: is not a setting. Settings of router: topK, groups.'],
    [{ learningRate: 1, constructor: 3 }, expect.stringMatching(/^constructor: is not a setting\. Settings: batchSize, /)],
    [JSON.parse('{"learningRate": 1, "__proto__": {}}'), expect.stringMatching(/^__proto__: is not a setting/)],
    [{ learningRate: 1, precision: 'bf61' }, 'precision: expected f32 or bf16, found "bf61". Did you mean bf16?'],
    [{}, 'learningRate: expected a number above 0, found nothing.'],
    [{ learningRate: 0 }, 'learningRate: expected a number above 0, found 0.'],
    [{ learningRate: Number.NaN }, 'learningRate: expected a number above 0, found null.'],
    [{ learningRate: '1' }, 'learningRate: expected a number above 0, found "1".'],
    [{ learningRate: 1, batchSize: 1.5 }, 'batchSize: expected an integer of at least 1, found 1.5.'],
    [{ learningRate: 1, batchSize: null }, 'batchSize: expected an integer of at least 1, found null.'],
    [{ learningRate: 1, batchSize: 2 ** 53 }, 'batchSize: expected an integer of at least 1, found 9007199254740992.'],
    [{ learningRate: 1, ema: [] }, 'ema: expected a list of at least 1, found [].'],
    [{ learningRate: 1, ema: [0.5, 1] }, 'ema[1]: expected a number of at least 0 and below 1, found 1.'],
    [{ learningRate: 1, size: [4] }, 'size: expected a list of two, found [4].'],
    [{ learningRate: 1, size: [4, 0] }, 'size[1]: expected an integer of at least 1, found 0.'],
    [{ learningRate: 1, layers: { every: 0 } }, 'layers.every: expected an integer of at least 1, found 0.'],
    [{ learningRate: 1, layers: 'al' }, 'layers: expected all or deepHalf, or an object, found "al". Did you mean all?'],
    [{ learningRate: 1, objective: { kind: 'ddmp' } }, 'objective.kind: expected flow or ddpm, found "ddmp". Did you mean ddpm?'],
    [{ learningRate: 1, objective: { kind: '__proto__' } }, 'objective.kind: expected flow or ddpm, found "__proto__".'],
    [{ learningRate: 1, objective: { kind: 'ddpm', scale: 2 } }, expect.stringMatching(/^objective\.scale: is not a setting/)],
    [{ learningRate: 1, objective: 3 }, 'objective: expected an object, found 3.'],
    [{ learningRate: 1, flip: 'yes' }, 'flip: expected true or false, found "yes".'],
    [[], 'expected an object, found [].'],
    [
      { batchSize: 0, name: 3 },
      'batchSize: expected an integer of at least 1, found 0.',
      'learningRate: expected a number above 0, found nothing.',
      'name: expected a text, found 3.',
    ],
  ])('%j', (json, ...problems) => {
    expect(problemsOf(json)).toEqual(problems);
  });

  test('as fields, too', () => {
    expect(() => parse({ learningRate: 1, router: { topk: 3 } })).toThrow(
      expect.objectContaining({ code: 'E_SETTINGS', where: 'router.topk', expected: 'no such setting', found: 3 }),
    );
  });
});

test('narrower limits of a setting: of a number and of a list', () => {
  const steps = within(integer('of the solver', { least: 1 }), { most: 250 });
  const request = object({ steps: optional(steps), labels: list(integer('a class'), 'of the images', { least: 1, most: 2 }) });
  const read = (json: unknown) => parseSettings(request, json, 'The request');
  expect(read({ steps: 250, labels: [3, 4] })).toEqual({ steps: 250, labels: [3, 4] });
  expect(read({ labels: [3] })).toEqual({ labels: [3] });
  expect(() => read({ steps: 251, labels: [3] })).toThrow('steps: expected a number of at most 250, found 251.');
  expect(() => read({ steps: 0, labels: [3] })).toThrow('steps: expected an integer of at least 1, found 0.');
  for (const labels of [[], [1, 2, 3]]) expect(() => read({ labels })).toThrow('labels: expected a list of 1 to 2');
  expect(request.schema).toMatchObject({
    properties: { steps: { type: 'integer', minimum: 1, maximum: 250 }, labels: { minItems: 1, maxItems: 2 } },
  });
});

test('the JSON schema says the same', () => {
  expect(settings.schema).toMatchObject({
    ...{ type: 'object', required: ['learningRate'], additionalProperties: false },
    properties: {
      batchSize: { type: 'integer', minimum: 1, default: 256, description: 'samples per step' },
      learningRate: { type: 'number', exclusiveMinimum: 0 },
      precision: { enum: ['f32', 'bf16'] },
      size: { type: 'array', minItems: 2, maxItems: 2 },
      objective: { oneOf: [{ properties: { kind: { enum: ['flow'], default: 'flow' } } }, { required: ['kind'] }] },
    },
  });
});

test.each([
  ['stepz', 'steps'],
  ['BATCH-SIZE', 'batchSize'],
  ['lerningRate', 'learningRate'],
  ['setps', 'steps'],
  ['every', undefined],
  ['', undefined],
  ['steps', 'steps'],
])('nearest to %j: %j', (written, meant) => {
  expect(nearest(written, ['steps', 'batchSize', 'learningRate', 'ema'])).toBe(meant);
});
