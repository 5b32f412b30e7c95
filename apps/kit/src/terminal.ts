/** What a stream can show, and what its user wants to see. */
import pc from 'picocolors';

/** A part of Node's streams. */
interface Shown {
  isTTY?: boolean;
}

/** Text in a colour, or as it is where there are none. */
type Colours = Readonly<Record<'red' | 'yellow' | 'cyan' | 'dim', (text: string) => string>> & { readonly isColorSupported: boolean };

/** Whether a line can be rewritten in place. */
export const isTerminal = ({ isTTY }: Shown): boolean => isTTY === true && process.env['TERM'] !== 'dumb';

/** Colours for a stream: on terminals; with FORCE_COLOR (unless 0 or false) elsewhere, too; with NO_COLOR nowhere (no-color.org). */
export function coloursFor(stream: Shown): Colours {
  const { NO_COLOR = '', FORCE_COLOR = '' } = process.env;
  const wanted = FORCE_COLOR === '' ? isTerminal(stream) : !['0', 'false'].includes(FORCE_COLOR);
  return pc.createColors(NO_COLOR === '' && wanted);
}

/** A line for stderr, with the word that it begins with in colour: red for an error, yellow for a warning. */
export function marked(line: string, stream: Shown = process.stderr): string {
  const { red, yellow } = coloursFor(stream);
  return line.replace(/^error:/, red).replace(/^(WARNING|warning):/, yellow);
}
