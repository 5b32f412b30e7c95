/** For tests: what a program makes of a command line, by the table with which it parses those of people. */
import { exitCodes } from '../exit-codes.js';
import { type ProgramTable, run } from '../program.js';

/**
 * Parses a command line; the command that it names is not run.
 * @param words behind the program's name
 * @param instead is called in place of the command, with its word, its arguments and then its options
 * @returns the exit code; commander says on stderr why it is not 0
 */
export function parseCommandLine(
  table: ProgramTable,
  words: readonly string[],
  instead: (command: string, given: readonly unknown[]) => number = () => exitCodes.ok,
): Promise<number> {
  const commands = Object.entries(table.commands).map(([name, entry]) => [
    name,
    { ...entry, run: (...given: unknown[]) => instead(name, given) },
  ]);
  return run({ ...table, commands: Object.fromEntries(commands) }, words);
}
