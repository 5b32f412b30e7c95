/** Command lines of a block of shell, as words: quotes, continued lines, comments, `&&`, and nothing else of a shell. */

export function commandLines(script: string): string[][] {
  const joined = script.replaceAll(/\\\n\s*/g, ' ');
  return joined.split('\n').flatMap((line) =>
    withoutComment(line)
      .split(/ && | \| | ; /)
      .map((command) => [...command.matchAll(/(?:[^\s"']+|"[^"]*"|'[^']*')+/g)].map(([word]) => word.replaceAll(/["']/g, '')))
      .map((words) => words.slice(0, words.findIndex((word) => /^\d?>/.test(word)) >>> 0))
      .filter((words) => words.length > 0),
  );
}

/** A `#` begins a comment behind a space, outside of quotes. */
const withoutComment = (line: string): string => /^(?:[^"'#]|(?<=\S)#|"[^"]*"|'[^']*')*/.exec(line)![0];
