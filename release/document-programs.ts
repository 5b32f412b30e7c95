/**
 * The TypeScript in documents, for the type check: each page's blocks as files that exist in memory only, every line where it stands in the
 * page. A block goes on from the one before it, unless it imports a name again.
 */
import path from 'node:path';
import { blocksOf, documents, isGenerated } from '../site/documents.js';
import { root } from './packages.js';
import { programsOf } from './readme.js';

/** Texts by their path, beside the document so that they see what a file there would. */
export function documentPrograms(): Map<string, string> {
  return new Map(
    documents()
      .filter((document) => !isGenerated(document))
      .flatMap((document) => {
        const blocks = blocksOf(document).filter(({ language }) => language === 'ts');
        const placed = programsOf(blocks.map(({ text }) => text)).map((program) => {
          const lines: string[] = [];
          for (const index of program) {
            const { text, line } = blocks[index];
            while (lines.length < line - 1) lines.push('');
            lines.push(...text.trimEnd().split('\n'));
          }
          return `${lines.join('\n')}\nexport {};\n`;
        });
        return placed.map((text, i) => [path.join(root, `${document.file}.${i + 1}.ts`), text] as const);
      }),
  );
}
