/** The whole frame, in processes of its own: help, mistakes, exit codes, signals and closed pipes. */
import { beforeAll, describe, expect, test } from 'vitest';
import { bundleProgram, type Outcome, type Running } from './testing/bundle-program.js';

let startProgram: Awaited<ReturnType<typeof bundleProgram>>;
beforeAll(async () => {
  startProgram = await bundleProgram(new URL('./testing/program.ts', import.meta.url));
});
const start = (...args: string[]): Running => startProgram(args);
const run = (...args: string[]): Promise<Outcome> => start(...args).ended;

test('help is grouped, shows examples and exit codes, and loads notes of the command asked for', async () => {
  const { code, out } = await run('--help');
  expect(code).toBe(0);
  expect(out).toMatch(/\nTests:\n {2}fail .*throw an error/);
  expect(out).toMatch(/\nThis machine:\n {2}completion/);
  expect(out).toContain('75 interrupted and saved');
  expect(out).toContain('tester fail defect    a stack');
  for (const args of [
    ['fail', '--help'],
    ['help', 'fail'],
  ])
    expect((await run(...args)).out).toMatch(/--times.*There is more to say\..*Examples:\n {2}tester fail defect/s);
});

test('the version', async () => {
  for (const flag of ['--version', '-V']) expect(await run(flag)).toMatchObject({ code: 0, out: '1.2.3\n', err: '' });
});

test.each<[string[], RegExp]>([
  [['fial', 'defect'], /Did you mean fail/],
  [['fail', 'defect', '--time', '3'], /Did you mean --times/],
  [['fail', 'defct'], /Allowed choices are defect/],
  [['fail', 'defect', '--colour', 'grene'], /Did you mean green/],
  [['fail', 'defect', '--times', 'many'], /positive integer/],
  [['fail'], /missing required argument/],
])('a mistake ends with 2: %j', async (args, message) => {
  const { code, err, out } = await run(...args);
  expect({ code, out }).toEqual({ code: 2, out: '' });
  expect(err).toMatch(message);
});

test.each([
  ['defect', 1, /TypeError: x is not a function\n {4}at /],
  ['argument', 2, /^error: --x: expected a number, found "y"\.\n$/],
  ['output', 4, /^error: It is there already\.\n$/],
  ['write', 4, /^error: Cannot write x\.\n$/],
  ['enoent', 3, /^error: Cannot read \/nowhere: it does not exist, or a link leads to nothing\. Check the path\.\n$/],
  ['erofs', 4, /^error: Cannot write \/readonly: the file system is read-only\. Choose another folder\.\n$/],
])('the error %s ends with %i', async (name, code, message) => {
  const outcome = await run('fail', name);
  expect(outcome.code).toBe(code);
  expect(outcome.err).toMatch(message);
});

test('a command has exit codes of its own', async () => {
  expect(await run('convert')).toMatchObject({ code: 3, err: 'error: Here it is data.\n' });
});

describe('signals', () => {
  test.each(['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1'] as const)('%s lets the work be saved: 75', async (signal) => {
    const { child, ended, seen } = start('work');
    await seen('step 1');
    child.kill(signal);
    expect(await ended).toMatchObject({ code: 75, err: `${signal}: saving\n` });
  });

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('a second one, %s, ends at once and says that nothing is saved: %i', async (signal, code) => {
    const { child, ended, seen } = start('work');
    await seen('step 1');
    child.kill('SIGINT');
    await seen('saving');
    child.kill(signal);
    expect((await ended).code).toBe(code);
  });

  test('end a server with 0', async () => {
    const { child, ended, seen } = start('wait');
    await seen('waiting');
    child.kill('SIGTERM');
    expect(await ended).toMatchObject({ code: 0, err: '' });
  });
});

describe('a closed pipe', () => {
  test('ends what only prints, quietly, as SIGPIPE would', async () => {
    const { child, ended, seen } = start('print');
    await seen('line 3');
    child.stdout.destroy();
    expect(await ended).toMatchObject({ code: 141, err: '' });
  });

  test('lets work be saved', async () => {
    const { child, ended, seen } = start('work');
    await seen('step 1');
    child.stdout.destroy();
    expect(await ended).toMatchObject({ code: 75, err: 'the output was closed: saving\n' });
  });

  test('of both outputs lets work be saved, too', async () => {
    const { child, ended, seen } = start('work');
    await seen('step 1');
    child.stdout.destroy();
    child.stderr.destroy();
    expect((await ended).code).toBe(75);
  });
});
