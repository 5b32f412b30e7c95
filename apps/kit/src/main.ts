/** The frame of a program. */
import { type ProgramTable, run } from './program.js';
import { watchPipes } from './signals.js';

/** Runs the command that the process was called with, and ends the process. */
export async function main(table: ProgramTable): Promise<never> {
  watchPipes();
  process.exit(await run(table, process.argv.slice(2)));
}
