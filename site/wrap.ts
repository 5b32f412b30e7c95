/** `pnpm docs:wrap FILES`: breaks lines of prose at 100 columns, between words, outside of code and links. */
import fs from 'node:fs';

const WIDTH = 100;
/** Headings, tables, pictures and the like stay as they are. */
const FIXED = /^\s*(#|\||<|!\[|>|$)/;
const ITEM = /^\s*([-*]|\d\d?\.)\s+/;

for (const file of process.argv.slice(2)) {
  const text = fs.readFileSync(file, 'utf8');
  // What stands before the page, in YAML.
  const head = /^---\n[\s\S]*?\n---\n/.exec(text)?.[0] ?? '';
  fs.writeFileSync(file, head + wrapped(text.slice(head.length)));
}

function wrapped(text: string): string {
  const lines = text.split('\n');
  const out: string[] = [];
  let inBlock = false;
  for (let i = 0; i < lines.length; ) {
    const line = lines[i++];
    const isFence = /^\s*```/.test(line);
    if (isFence) inBlock = !inBlock;
    if (inBlock || isFence || FIXED.test(line)) {
      out.push(line);
      continue;
    }
    const indent = /^\s*/.exec(line)![0];
    const first = ITEM.exec(line)?.[0] ?? indent;
    const paragraph = [line.slice(first.length)];
    while (i < lines.length && !FIXED.test(lines[i]) && !ITEM.test(lines[i]) && !/^\s*```/.test(lines[i]))
      paragraph.push(lines[i++].trim());
    out.push(filled(paragraph.join(' '), first, first === indent ? indent : ' '.repeat(first.length)));
  }
  return out.join('\n');
}

/** Words of a paragraph in lines; code and links are words. */
function filled(paragraph: string, first: string, rest: string): string {
  const lines = [first];
  for (const [i, word] of (paragraph.match(/(?:`[^`]*`|\[[^\]]*\]|[^\s`[]|[`[])+/g) ?? []).entries()) {
    const line = lines.at(-1)!;
    if (i > 0 && line.length + 1 + word.length > WIDTH) lines.push(rest + word);
    else lines[lines.length - 1] = i > 0 ? `${line} ${word}` : line + word;
  }
  return lines.join('\n');
}
