/** What the release check does with every fenced block of the pages. A block or line that it would have to pass over is an error. */
import { type Block, blocksOf, type Document, documents, isGenerated } from '../site/documents.js';
import { scriptLines } from '../site/shell.js';
import { notRun, small } from './document-rules.js';
import { helpPages } from './help-pages.js';
import { programsOf } from './readme.js';

export interface Line {
  /** As the page has it. */
  text: string;
  /** The same, made small; undefined if it is not run. */
  command: string | undefined;
  /** It answers requests until it is stopped. */
  serves: boolean;
}

export interface Page {
  file: string;
  /** Lines of its blocks of shell, by the number of the block among all of the page. */
  scripts: ReadonlyMap<number, readonly Line[]>;
  /** Its blocks of YAML by the name that the commands below them use. */
  files: ReadonlyMap<string, string>;
  /** Its TypeScript, with the numbers of the blocks that make one program. */
  programs: readonly { text: string; blocks: readonly number[] }[];
  /** What it shows of the output of the block before, by the number of that block. */
  outputs: ReadonlyMap<number, string>;
}

/**
 * Pages whose blocks are run: all that people write, but for packages' READMEs, which are followed one by one where only that package is
 * installed, and measurements, which record what was run with sizes and on machines of their own; and the examples of `--help`.
 */
export const runnable = (): Document[] => [
  ...documents().filter((document) => !isGenerated(document) && !/^(packages|docs\/measurements)\//.test(document.file)),
  ...helpPages(),
];

export const pages = (): Page[] =>
  runnable()
    .map(pageOf)
    .filter(({ scripts, programs }) => scripts.size + programs.length > 0);

/** @throws Error naming a block that no rule is for, or a line that no rule is for */
export function pageOf(document: Document): Page {
  const blocks = blocksOf(document);
  const at = (block: Block) => `${document.file}:${block.line}`;
  const numbered = [...blocks.entries()];
  const inLanguage = (language: string) => numbered.filter(([, block]) => block.language === language);
  const code = inLanguage('ts');
  const unknown = blocks.find(({ language }) => !['', 'sh', 'ts', 'text', 'yaml'].includes(language));
  if (unknown !== undefined) throw new Error(`${at(unknown)}: nothing is known of blocks of "${unknown.language}".`);
  return {
    file: document.file,
    scripts: new Map(inLanguage('sh').map(([i, block]) => [i, scriptLines(block.text).map((line) => lineOf(line, at(block)))])),
    files: new Map(
      inLanguage('yaml').map(([i, block]) => {
        const name = /\S+\.ya?ml\b/.exec(blocks[i + 1]?.language === 'sh' ? blocks[i + 1].text : '')?.[0];
        if (name === undefined) throw new Error(`${at(block)}: no command below takes this file.`);
        return [name, block.text];
      }),
    ),
    programs: programsOf(code.map(([, { text }]) => text)).map((program) => ({
      text: program.map((k) => code[k][1].text).join(''),
      blocks: program.map((k) => code[k][0]),
    })),
    outputs: new Map(inLanguage('text').map(([i, { text }]) => [i - 1, text])),
  };
}

function lineOf(text: string, at: string): Line {
  if (notRun.some(({ line }) => line.test(text))) return { text, command: undefined, serves: false };
  const parts = commandsOf(text).map((part) => {
    if (!/^(dit-moe-(trainer|sampler)|curl) /.test(withPrograms(part)))
      throw new Error(`${at}: neither run nor in the list of what is not run: ${part}`);
    return [part, ...small.filter(({ when }) => when.test(withPrograms(part))).map(({ add }) => add)];
  });
  return { text, command: parts.map((words) => words.join(' ')).join(' && '), serves: parts.flat().includes('--port 0') };
}

/** A line may have several. */
const commandsOf = (line: string): string[] => line.split(' && ');

/** A clone's way to call the two programs, as the installed one. */
const withPrograms = (line: string): string => line.replace(/^node apps\/(\w+)\/dist\/cli\.js/, 'dit-moe-$1');

/** Rules and exceptions that no line of the pages needs. */
export function unusedRules(all: readonly Page[]): string[] {
  const lines = all.flatMap(({ scripts }) => [...scripts.values()].flat());
  const run = lines.filter(({ command }) => command !== undefined).flatMap(({ text }) => commandsOf(text).map(withPrograms));
  return [
    ...notRun.filter(({ line }) => !lines.some(({ text }) => line.test(text))).map(({ line }) => line.source),
    ...small.filter(({ when }) => !run.some((text) => when.test(text))).map(({ when }) => when.source),
  ];
}

/** Lines of an output that the real one has not, where numbers and the units behind them may be others. */
export function missingLines(shown: string, real: string): string[] {
  const there = new Set(real.split('\n').map(shapeOf));
  return shown.split('\n').filter((line) => line.trim() !== '' && !there.has(shapeOf(line)));
}

const shapeOf = (line: string): string =>
  line
    .replaceAll(/[-+]?\d[\d.,]*(e[-+]?\d+)?( ?(%|[KMG]iB|days?|h|min|m?s)(?![\w]))?/g, '#')
    .replaceAll(/#(\s*#)*/g, '#')
    .replaceAll(/\s+/g, ' ')
    .trim();
