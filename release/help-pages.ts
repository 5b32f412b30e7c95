/**
 * The examples of `--help` as pages, so that they are run as those of the pages are. Each command is a page of its own: two of them may write
 * the same folder.
 */
import { program as sampler } from '../apps/sampler/src/program.js';
import { program as trainer } from '../apps/trainer/src/program.js';
import type { Document } from '../site/documents.js';
import { exampleLines } from '../site/reference/commands.js';

export const helpPages = (): Document[] =>
  [trainer, sampler].flatMap(({ name, commands, examples }) =>
    [
      { call: name, examples },
      ...Object.entries(commands).map(([word, entry]) => ({ call: `${name} ${word}`, examples: entry.examples })),
    ].map((one) => ({ file: `${one.call} --help`, text: `\`\`\`sh\n${exampleLines(name, one.examples).join('\n')}\n\`\`\`\n` })),
  );
