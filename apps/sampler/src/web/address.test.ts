import { expect, test } from 'vitest';
import { addressOf, fieldsOfAddress } from './address.js';

test('fields survive the way through an address, unknown ones do not', () => {
  const fields = { classes: '3, 7', guidance: '1, 2', solver: 'dpm++2m', model: 'a b&c=雪' };
  expect(fieldsOfAddress(addressOf(fields), ['classes', 'guidance', 'solver', 'model'])).toEqual(fields);
  expect(fieldsOfAddress(`${addressOf(fields)}&token=secret`, ['classes', 'seed'])).toEqual({ classes: '3, 7' });
  expect(fieldsOfAddress('', ['classes'])).toEqual({});
});
