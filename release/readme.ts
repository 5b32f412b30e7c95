/** What a README promises: its install commands, its programs, its size. */
import fs from 'node:fs';
import path from 'node:path';

export interface Readme {
  /** Names in each `npm install`, the first of which is to be enough for the package itself. */
  installs: string[][];
  /** Its TypeScript. A block goes on from the one before it, unless it imports a name again. */
  programs: string[];
  /** Megabytes that it says the first installation takes. */
  megabytes: number | undefined;
}

export function readReadme(directory: string): Readme {
  const text = fs.readFileSync(path.join(directory, 'README.md'), 'utf8');
  const installs = installsOf(text);
  const blocks = [...text.matchAll(/```ts\n([\s\S]+?)```/g)].map(([, block]) => block);
  const size = /Installed size: (\d+) MB/.exec(text);
  return {
    installs,
    programs: programsOf(blocks).map((program) => program.map((index) => blocks[index]).join('')),
    megabytes: size === null ? undefined : Number(size[1]),
  };
}

/** Names of packages in each `npm install` of a page. */
export const installsOf = (text: string): string[][] =>
  [...text.matchAll(/npm install ([^`\n#]+)/g)].map(([, args]) => args.split(' ').filter((x) => x !== '' && !x.startsWith('-')));

/**
 * Which blocks of code make one program: a block goes on from the one before it, unless it imports a name again.
 * @returns numbers of blocks, program by program
 */
export function programsOf(blocks: readonly string[]): number[][] {
  const programs: { blocks: number[]; names: Set<string> }[] = [];
  for (const [index, text] of blocks.entries()) {
    const names = [...text.matchAll(/^import (?:\* as (\w+)|\{([^}]+)\})/gm)].flatMap(([, all, list]) =>
      [all ?? [], list?.split(',') ?? []].flat(),
    );
    const imported = names.map((name) => name.trim()).filter((name) => name !== '');
    const before = programs.at(-1);
    if (before === undefined || imported.some((name) => before.names.has(name)))
      programs.push({ blocks: [index], names: new Set(imported) });
    else {
      before.blocks.push(index);
      for (const name of imported) before.names.add(name);
    }
  }
  return programs.map((program) => program.blocks);
}
