import { describe, expect, test } from 'vitest';
import { ForbiddenGlobalError, MAX_PICKLE_STACK, PickleGlobal, PickleTruncatedError, readPickle } from './pickle.js';
import { FormatError } from './safetensors.js';
import { torchGlobal } from './torch-globals.js';

/** A pickle from characters (one byte each) and bytes. */
const pickle = (...parts: (string | number[])[]) =>
  Uint8Array.from(parts.flatMap((part) => (typeof part === 'string' ? Array.from(part, (c) => c.charCodeAt(0)) : part)));
const rules = { global: torchGlobal, persistent: (id: unknown) => ({ id }) };
const read = (...parts: (string | number[])[]) => readPickle(pickle(...parts), 0, 'test', rules).value;

describe('the restricted pickle reader', () => {
  test('plain values', () => {
    // pickle.dumps({'a': (1, 2.5, 'é'), 'b': [True, None, -3, 2**70]}, 2)
    const value = read(
      '\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01K\x01G@\x04\x00\x00\x00\x00\x00\x00X\x02\x00\x00\x00\xc3\xa9q\x02\x87q\x03X\x01\x00\x00\x00bq\x04]q\x05(\x88NJ\xfd\xff\xff\xff\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00@eu.',
    );
    expect(value).toEqual(
      new Map<string, unknown>([
        ['a', [1, 2.5, 'é']],
        ['b', [true, null, -3, 2n ** 70n]],
      ]),
    );
  });

  test('protocol 4: frames, memo, sets and bytes', () => {
    expect(read('\x80\x04\x95\x05\0\0\0\0\0\0\0\x8c\x01a\x94h\x00\x86.')).toEqual(['a', 'a']);
    expect(read('\x80\x04\x8f(K\x01K\x02\x90.')).toEqual(new Set([1, 2]));
    expect(read('\x80\x03C\x02\x00\xff.')).toEqual(Uint8Array.of(0, 255));
  });

  test('keys never reach a prototype', () => {
    const value = read('\x80\x02}X\x09\0\0\0__proto__}X\x08\0\0\0pollutedK\x01ss.');
    expect(value).toEqual(new Map([['__proto__', new Map([['polluted', 1]])]]));
    expect('polluted' in {}).toBe(false);
  });

  test.each([
    ['os.system', 'cos\nsystem\n(S"x"\ntR.'],
    ['posix.system', '\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x01x\x85R.'],
    ['builtins.eval', '\x80\x02cbuiltins\neval\nX\x01\0\0\x001\x85R.'],
    ['collections.__class__', '\x80\x02ccollections\n__class__\n.'],
    ['constructor.constructor', '\x80\x02cconstructor\nconstructor\n.'],
  ])('%s is refused by name', (global, text) => {
    const error = (() => {
      try {
        read(text);
      } catch (caught) {
        return caught;
      }
    })();
    expect(error).toBeInstanceOf(ForbiddenGlobalError);
    expect((error as ForbiddenGlobalError).global).toBe(global);
    expect((error as Error).message).toContain(`"${global}"`);
  });

  test.each([
    ['\x80\x02s.', /empty stack/],
    ['\x80\x02K\x01(0.', /empty stack/],
    ['\x80\x02t.', /did not open/],
    ['\x80\x02h\x05.', /did not define/],
    ['\x80\x02K\x01)R.', /cannot be called/],
    ['\x80\x02ctorch\nFloatStorage\n)R.', /torch.FloatStorage, which cannot be called/],
    ['\x80\x02K\x01K\x02a.', /not a list/],
    ['\x80\x02]K\x02K\x03s.', /not a dictionary/],
    ['\x80\x02}(K\x02u.', /not a dictionary/],
    ['\x80\x02X\x01\0\0\0\xff.', /not UTF-8/],
    ['\x80\x06N.', /newer than 5/],
    ['\x80\x02i.', /opcode 0x69/],
  ])('%j is damaged', (text, message) => {
    expect(() => read(text)).toThrow(message);
    expect(() => read(text)).toThrow(FormatError);
  });

  test.each(['\x80\x02', '\x80\x02X\xff\xff\xff\x7fa', '\x80\x02G\0\0', '\x80\x02ctorch\nFloat', '\x80'])('%j is truncated', (text) => {
    expect(() => read(text)).toThrow(PickleTruncatedError);
  });

  test('a long stack, and copies that the memo makes cheap, end at a limit', () => {
    expect(() => readPickle(new Uint8Array(MAX_PICKLE_STACK + 10).fill('N'.charCodeAt(0)), 0, 'test', rules)).toThrow(/stack grows/);
    // bytes of 60,000 characters, made again and again from one string
    const once = 'h\x00X\x06\0\0\0latin1\x86Rq\x01';
    const bomb = `\x80\x02X\x60\xea\0\0${'a'.repeat(60_000)}q\x00${`c_codecs\nencode\n${once}`.repeat(100)}.`;
    expect(() => read(bomb)).toThrow(/more than the limit/);
  });

  test('calls only see the table of the caller', () => {
    const seen: unknown[] = [];
    const call = new PickleGlobal('a.b', (args) => seen.push(args));
    readPickle(pickle('\x80\x02ca\nb\nK\x07\x85R.'), 0, 'test', { ...rules, global: (name) => (name === 'a.b' ? call : undefined) });
    expect(seen).toEqual([[7]]);
  });
});
