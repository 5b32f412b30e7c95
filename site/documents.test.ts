/** What pages owe to those who read them: links that lead somewhere, command lines that are taken, lines and sentences that can be read. */
import fs from 'node:fs';
import path from 'node:path';
import { expect, test, vi } from 'vitest';
import { parseCommandLine } from '../apps/kit/src/testing/parse-command-line.js';
import { program as sampler } from '../apps/sampler/src/program.js';
import { resolveConfig } from '../apps/trainer/src/config/resolve.js';
import { program as trainer } from '../apps/trainer/src/program.js';
import { root } from '../release/packages.js';
import { installsOf } from '../release/readme.js';
import { anchorsOf, blocksOf, documents, isGenerated, sentencesOf, withoutBlocks } from './documents.js';
import { commandLines, scriptLines } from './shell.js';

const all = documents();
const written = all.filter((document) => !isGenerated(document));

/** Columns of a line of prose; tables and addresses cannot be broken. */
const WIDEST = 100;
/** Words of a sentence. Pages that teach have half of that on average. */
const LONGEST = 45;
const LONGEST_ON_AVERAGE = 21;

test('every link leads to a file, and to a heading of it', () => {
  const lost = all.flatMap((document) =>
    [...withoutBlocks(document).matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, address]) => address)
      .filter((address) => !/^(https?|mailto):/.test(address))
      .filter((address) => {
        const [file, anchor] = address.split('#');
        const target = file === '' ? document.file : path.posix.join(path.posix.dirname(document.file), file);
        if (!fs.existsSync(path.join(root, target))) return true;
        const page = all.find((one) => one.file === target);
        return anchor !== undefined && page !== undefined && !anchorsOf(page).has(anchor);
      })
      .map((address) => `${document.file}: ${address}`),
  );
  expect(lost).toEqual([]);
});

test('every page of docs is in the list of pages, and begins with its title and a paragraph', () => {
  const list = all.find(({ file }) => file === 'docs/README.md')!.text;
  for (const { file, text } of all.filter((document) => document.file.startsWith('docs/') && document.file !== 'docs/README.md')) {
    expect(list, file).toContain(`(${file.slice('docs/'.length)})`);
    expect(text, file).toMatch(/^(<!--.*-->\n\n)?# .+\n\n(<!--.*-->\n\n)?["`*[\w]/);
  }
});

test('lines of prose are at most 100 columns wide', () => {
  const wide = written.flatMap((document) =>
    withoutBlocks(document)
      .split('\n')
      .map((line, i) => ({ line, at: `${document.file}:${i + 1}` }))
      .filter(({ line }) => line.length > WIDEST && !/^\s*(\||!?\[|#)/.test(line) && !/\S{80}/.test(line)),
  );
  expect(wide.map(({ at }) => at)).toEqual([]);
});

test('sentences can be read in one breath', () => {
  const long = written
    .filter(({ file }) => !file.startsWith('docs/measurements/'))
    .flatMap((document) => sentencesOf(document).map((sentence) => ({ file: document.file, sentence })))
    .filter(({ sentence }) => sentence.split(' ').length > LONGEST);
  expect(long.map(({ file, sentence }) => `${file}: ${sentence}`)).toEqual([]);
  for (const document of written.filter(({ file }) => /^docs\/(start|guides|concepts)\//.test(file))) {
    const words = sentencesOf(document).map((sentence) => sentence.split(' ').length);
    expect(words.reduce((sum, x) => sum + x, 0) / words.length, document.file).toBeLessThan(LONGEST_ON_AVERAGE);
  }
});

test('a page that says what to install names all that its programs import', () => {
  const pages = all
    .map((document) => ({
      file: document.file,
      installed: installsOf(document.text).flat(),
      imported: blocksOf(document)
        .filter(({ language }) => language === 'ts')
        .flatMap(({ text }) => [...text.matchAll(/ from '((?:@[^/']+\/)?[^/'.:]+)[^':]*'/g)].map(([, name]) => name)),
    }))
    .filter(({ installed, imported }) => installed.length > 0 && imported.length > 0);
  expect(
    pages.flatMap(({ file, installed, imported }) => imported.filter((x) => !installed.includes(x)).map((x) => `${file}: ${x}`)),
  ).toEqual([]);
  expect(pages.length).toBeGreaterThan(8);
});

test('every command line of both programs is taken, and its settings exist', async () => {
  const lines = all.flatMap((document) =>
    blocksOf(document)
      .filter(({ language }) => language === 'sh')
      .flatMap(({ text, line }) => commandLines(text).map((words) => ({ words, at: `${document.file}:${line}: ${words.join(' ')}` }))),
  );
  const refused: string[] = [];
  vi.spyOn(process.stderr, 'write').mockImplementation(() => true);
  let checked = 0;
  for (const { words, at } of lines) {
    const table = [trainer, sampler].find(({ name }) => name === words[0]);
    if (table === undefined) continue;
    checked++;
    const code = await parseCommandLine(table, words.slice(1), taken).catch((error: Error) => error.message);
    if (code !== 0) refused.push(`${at}: ${code}`);
  }
  vi.restoreAllMocks();
  expect(refused).toEqual([]);
  expect(checked).toBeGreaterThan(50);
});

test('no pattern of a shell stands outside of quotes: zsh refuses a line whose pattern fits no file', () => {
  const lines = all.flatMap((document) =>
    blocksOf(document)
      .filter(({ language }) => language === 'sh')
      .flatMap(({ text }) => scriptLines(text).map((line) => ({ line, at: document.file }))),
  );
  const unquoted = lines.filter(({ line }) => /[[\]{}*?]/.test(line.replaceAll(/"[^"]*"|'[^']*'/g, '')));
  expect(unquoted).toEqual([]);
});

/** What a command would do first: read its settings. A configuration of one's own is not there, so its overrides are tried on a preset. */
function taken(name: string, given: readonly unknown[]): number {
  const flags = given.findLast((value) => typeof value === 'object' && value !== null) as { preset?: string; set?: string[] } | undefined;
  if (['train', 'plan', 'config'].includes(name) && flags?.set !== undefined) {
    resolveConfig({ preset: flags.preset ?? 'shapes', overrides: flags.set });
  }
  return 0;
}
