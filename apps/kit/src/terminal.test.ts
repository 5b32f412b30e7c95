import { afterEach, expect, test, vi } from 'vitest';
import { createProgress } from './progress.js';
import { coloursFor, marked } from './terminal.js';

afterEach(() => vi.unstubAllEnvs());
const setUp = (environment: Record<string, string | undefined>): void => {
  for (const name of ['NO_COLOR', 'FORCE_COLOR', 'TERM']) vi.stubEnv(name, environment[name]);
};
const [terminal, pipe] = [{ isTTY: true }, {}];

test.each<[string, Record<string, string>, boolean, boolean]>([
  ['nothing set', { TERM: 'xterm' }, true, false],
  ['NO_COLOR', { TERM: 'xterm', NO_COLOR: '1' }, false, false],
  ['an empty NO_COLOR, which counts as none', { TERM: 'xterm', NO_COLOR: '' }, true, false],
  ['FORCE_COLOR', { FORCE_COLOR: '1' }, true, true],
  ['FORCE_COLOR and NO_COLOR', { FORCE_COLOR: '1', NO_COLOR: '1' }, false, false],
  ['FORCE_COLOR of 0', { TERM: 'xterm', FORCE_COLOR: '0' }, false, false],
  ['a terminal without colours', { TERM: 'dumb' }, false, false],
])('colours with %s: on a terminal %s, in a pipe %s', (_, environment, onTerminal, inPipe) => {
  setUp(environment);
  expect([terminal, pipe].map((stream) => coloursFor(stream).isColorSupported)).toEqual([onTerminal, inPipe]);
});

test('the first word of errors and warnings is in colour, and nothing else', () => {
  setUp({ TERM: 'xterm' });
  expect(marked('error: a --x', terminal)).toBe('\x1b[31merror:\x1b[39m a --x');
  expect(marked('WARNING: b', terminal)).toBe('\x1b[33mWARNING:\x1b[39m b');
  expect(marked('an error: c', terminal)).toBe('an error: c');
  expect(marked('error: a', pipe)).toBe('error: a');
});

/** What progress writes to a terminal. */
function written(environment: Record<string, string>): string {
  setUp(environment);
  let text = '';
  const progress = createProgress({ isTTY: true, columns: 80, write: (part) => (text += part) });
  progress.phase('reading');
  progress.update({ what: 'step', done: 1, total: 4 });
  progress.log('WARNING: hot');
  progress.done();
  return text;
}

test('a terminal that cannot move its cursor gets whole lines', () => {
  expect(written({ TERM: 'dumb' })).toBe('reading ...\nstep 1/4\nWARNING: hot\n');
});

test('without colours the bar still shows what is done', () => {
  const text = written({ TERM: 'xterm', NO_COLOR: '1' });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is they that are looked for
  expect(text).not.toMatch(/\x1b\[\d+m/);
  expect(text).toContain(`${'━'.repeat(6)}${'─'.repeat(18)} step 1/4`);
});
