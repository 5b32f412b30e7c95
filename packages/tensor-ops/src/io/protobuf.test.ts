import { describe, expect, test } from 'vitest';
import { bytesField, doubleField, floatField, integerField, joined, readField, readFields } from './protobuf.js';
import { FormatError } from './safetensors.js';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

describe('fields as the encoding guide writes them', () => {
  test.each([
    ['the guide’s first message', integerField(1, 150), '089601'],
    ['a text', bytesField(2, 'testing'), '120774657374696e67'],
    ['a message in a message', bytesField(3, integerField(1, 150)), '1a03089601'],
    ['-2, two’s complement of 64 bits', integerField(1, -2), '08feffffffffffffffff01'],
    ['2^63 - 1', integerField(1, 2n ** 63n - 1n), '08ffffffffffffffff7f'],
    ['2^40', integerField(1, 2 ** 40), '08808080808020'],
    ['a float', floatField(4, 1.5), '250000c03f'],
    ['a double', doubleField(1, 1.5), '09000000000000f83f'],
    ['a field above 15', integerField(100, 1), 'a00601'],
  ])('%s', (_, bytes, expected) => {
    expect(hex(bytes)).toBe(expected);
  });
});

test('what is written is read, and a large field is found by its head', () => {
  const message = joined(
    integerField(1, 2 ** 40),
    bytesField(2, 'name', Uint8Array.of(1)),
    floatField(3, 1),
    doubleField(4, 1),
    integerField(500, 0),
  );
  const fields = [...readFields(message, 'message')];
  expect(fields.map(({ field, value, start, end }) => [field, value, end - start])).toEqual([
    [1, 2 ** 40, 6],
    [2, 0, 5],
    [3, 0, 4],
    [4, 0, 8],
    [500, 0, 1],
  ]);
  expect(readField(bytesField(7, new Uint8Array(1000)).subarray(0, 4), 0, 'head')).toMatchObject({ field: 7, start: 3, end: 1003 });
});

test.each([
  ['a number without end', new Uint8Array(20).fill(0xff)],
  ['field 0', Uint8Array.of(0, 0)],
  ['a group, which the format has given up', Uint8Array.of(0x0b)],
  ['a field longer than its message', bytesField(1, 'long').subarray(0, 4)],
  ['half a double', doubleField(1, 1).subarray(0, 5)],
])('%s is refused with its position', (_, bytes) => {
  expect(() => [...readFields(bytes, 'a file', undefined, 100)]).toThrow(FormatError);
  expect(() => [...readFields(bytes, 'a file', undefined, 100)]).toThrow(/a file: byte 100: not a protobuf field/);
});
