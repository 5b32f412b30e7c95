/** The Markdown of this project, as its checks see it. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { root } from '../release/packages.js';

export interface Document {
  /** From the root, with `/`. */
  file: string;
  text: string;
}

export interface Block {
  /** What stands behind the opening of the block, such as `ts`. */
  language: string;
  text: string;
  /** Number of its first line in the document, from 1. */
  line: number;
}

/** Pages that people write, and those that the code writes; not what comes with data or models. */
export function documents(): Document[] {
  const listed = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], { cwd: root, encoding: 'utf8' });
  return listed
    .split('\n')
    .filter(
      (file) => file !== '' && !/^(\.changeset|golden|site)\/|\/(data|models)\/.*\//.test(file) && fs.existsSync(path.join(root, file)),
    )
    .map((file) => ({ file, text: fs.readFileSync(path.join(root, file), 'utf8') }));
}

/** Whether the code writes this page, so that its form is not a person's matter. */
export const isGenerated = ({ text }: Document): boolean => /^<!-- Written by /m.test(text);

export function blocksOf({ text }: Document): Block[] {
  return [...text.matchAll(/^( *)```(\S*)[^\n]*\n([\s\S]*?)^\1```/gm)].map((match) => ({
    language: match[2],
    text: match[3],
    line: text.slice(0, match.index).split('\n').length + 1,
  }));
}

/** The text with blocks of code replaced by as many empty lines. */
export const withoutBlocks = ({ text }: Document): string =>
  text.replaceAll(/^( *)```[\s\S]*?^\1```/gm, (block) => block.replaceAll(/[^\n]/g, ''));

/** Names that `#...` may point to, as GitHub and the site make them of headings. */
export function anchorsOf(document: Document): Set<string> {
  const headings = withoutBlocks(document).matchAll(/^#+ +(.+)$/gm);
  return new Set([...headings].map(([, heading]) => anchorOf(heading)));
}

/** A heading's name in addresses, as GitHub makes it. */
export const anchorOf = (heading: string): string =>
  heading
    .trim()
    .replaceAll(/[^\p{L}\p{N}_\- ]/gu, '')
    .toLowerCase()
    .replaceAll(' ', '-');

/** Sentences of paragraphs and lists, without tables, headings and code. */
export function sentencesOf(document: Document): string[] {
  const lines = withoutBlocks(document)
    .split('\n')
    .map((line) => (/^\s*(\||#|<|!\[)/.test(line) ? '' : line.replace(/^\s*([-*]|\d+\.) /, '\n\n')));
  return lines
    .join('\n')
    .replaceAll(/`[^`]*`/g, 'CODE')
    .replaceAll(/\]\([^)]*\)/g, ']')
    .split(/\n\s*\n/)
    .flatMap((paragraph) => paragraph.replaceAll(/\s+/g, ' ').split(/(?<=[.!?:;][)*"]*) (?=[^a-z])/))
    .map((sentence) => sentence.trim())
    .filter((sentence) => sentence !== '');
}
