/** Blocks of shell as this project's pages have them: quotes, continued lines, comments, `&&`, and nothing else of a shell. */

/** Lines with something to run, continued ones joined, without comments. */
export const scriptLines = (script: string): string[] =>
  script
    .replaceAll(/\s*\\\n\s*/g, ' ')
    .split('\n')
    .map((line) => withoutComment(line).trim())
    .filter((line) => line !== '');

/** Every command of a script as words. */
export function commandLines(script: string): string[][] {
  return scriptLines(script).flatMap((line) =>
    line
      .split(/ && | \| | ; /)
      .map((command) => [...command.matchAll(/(?:[^\s"']+|"[^"]*"|'[^']*')+/g)].map(([word]) => word.replaceAll(/["']/g, '')))
      .map((words) => words.slice(0, words.findIndex((word) => /^\d?>/.test(word)) >>> 0))
      .filter((words) => words.length > 0),
  );
}

/** A `#` begins a comment behind a space, outside of quotes. */
const withoutComment = (line: string): string => /^(?:[^"'#]|(?<=\S)#|"[^"]*"|'[^']*')*/.exec(line)![0];
