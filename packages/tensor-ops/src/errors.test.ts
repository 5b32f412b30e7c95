import { expect, test, vi } from 'vitest';
import * as errors from './errors.js';
import * as portable from './index.js';
import * as io from './io/index.js';
import * as fileErrors from './io/node/index.js';
import * as runtime from './node/index.js';

const { ArgumentError, DitMoeError, HostReadError, ShapeError } = errors;
type ErrorClass = typeof DitMoeError;

const isErrorClass = (value: unknown): value is ErrorClass => typeof value === 'function' && value.prototype instanceof DitMoeError;
const classes = [...new Set([portable, io, fileErrors, runtime].flatMap((module) => Object.values(module).filter(isErrorClass)))];

test('every class has a code of its own', () => {
  expect(classes.length).toBeGreaterThan(12);
  for (const kind of classes) expect(Object.hasOwn(kind, 'code'), kind.name).toBe(true);
  expect(new Set(classes.map((kind) => kind.code)).size).toBe(classes.length);
});

test('isInstance asks for its own class', () => {
  const error = new ShapeError('matMul', '[2, 3]', [2, 2]);
  expect(ShapeError.isInstance(error)).toBe(true);
  expect(DitMoeError.isInstance(error)).toBe(true);
  for (const other of classes.filter((kind) => kind !== ShapeError)) expect(other.isInstance(error), other.name).toBe(false);
  for (const nothing of [undefined, null, 3, 'E_SHAPE', {}, new Error('E_SHAPE')]) expect(DitMoeError.isInstance(nothing)).toBe(false);
});

test('a derived class is one of its bases, not the other way round', () => {
  class WideError extends DitMoeError {
    static override readonly code: string = 'E_WIDE';
  }
  class FinerError extends WideError {
    static override readonly code = 'E_FINER';
  }
  const finer = new FinerError('x');
  expect([FinerError.isInstance(finer), WideError.isInstance(finer), HostReadError.isInstance(finer)]).toEqual([true, true, false]);
  expect(FinerError.isInstance(new WideError('x'))).toBe(false);
  expect(finer.code).toBe('E_FINER');
});

test('errors of another copy of the package are recognised', async () => {
  vi.resetModules();
  const copy = await import('./errors.js');
  const error = new copy.ShapeError('add', '[1]', [2]);
  expect(error instanceof ShapeError).toBe(false);
  expect(ShapeError.isInstance(error)).toBe(true);
  expect(ArgumentError.isInstance(error)).toBe(false);
});

test('facts are fields, the sentence says them too', () => {
  const cause = new Error('why');
  const error = new ArgumentError('batchSize', 'a whole number above 0', 'many', { hint: 'Give --batch-size 8.', cause });
  expect(error).toMatchObject({
    name: 'ArgumentError',
    code: 'E_ARGUMENT',
    message: 'batchSize: expected a whole number above 0, found "many". Give --batch-size 8.',
    where: 'batchSize',
    expected: 'a whole number above 0',
    found: 'many',
    hint: 'Give --batch-size 8.',
    cause,
  });
});

test('a hint is a line of its own behind several lines', () => {
  expect(new DitMoeError('npm said:\nno network', { hint: 'Try again.' }).message).toBe('npm said:\nno network\nTry again.');
});
