/** A command line from a table of commands. Each command's code is loaded when it is called, so that help and mistakes answer at once. */
import { nearest } from '@dit-moe/tensor-ops/settings';
import { type Argument, Command, CommanderError, InvalidArgumentError, type Option } from 'commander';
import pc from 'picocolors';
import { completionScript, shells } from './completion.js';
import { exitCodeOf } from './exit-code-of.js';
import type { ExitCodeTable } from './exit-code-table.js';
import { exitCodes, exitCodesLine } from './exit-codes.js';
import { marked } from './terminal.js';

/** One command. */
export interface CommandEntry {
  /** Heading under which `--help` lists it. */
  group: string;
  description: string;
  arguments?: readonly Argument[];
  options: readonly Option[];
  /** Sentences after the options. */
  notes?: string;
  /** More of them, from code that takes time to load; only asked for when the command's help is printed. */
  moreNotes?(): Promise<string>;
  /** Command lines without the program's name, for people to copy. */
  examples: readonly string[];
  /** Exit codes of errors that mean something else in this command than in the others. */
  codes?: ExitCodeTable;
  /** Receives the arguments, then what commander made of the options, and gives the exit code. */
  run(...given: never[]): number | Promise<number>;
}

export interface ProgramTable {
  name: string;
  description: string;
  /** Version of the package; only asked for when it is to be printed. */
  version(): string;
  examples: readonly string[];
  /** Which exit code each error means; one that is not in it is a defect. */
  codes: ExitCodeTable;
  commands: Readonly<Record<string, CommandEntry>>;
}

/** For what commander prints. */
const { bold, cyan } = pc.createColors(true);

const examplesText = (name: string, lines: readonly string[]): string =>
  `\n${bold('Examples:')}\n${lines.map((line) => `  ${name} ${line}`).join('\n')}`;

/** Runs the command that `args` name. What goes wrong is said on stderr. @returns the exit code */
export async function run(table: ProgramTable, args: readonly string[]): Promise<number> {
  const { name, commands } = table;
  let code: number = exitCodes.ok;
  const program = new Command(name)
    .description(table.description)
    .exitOverride()
    // Commander leaves colours out where they are not wanted.
    .configureHelp({ styleTitle: bold, styleCommandText: cyan, styleSubcommandText: cyan, styleOptionText: cyan, styleArgumentText: cyan })
    .configureOutput({ outputError: (text, write) => write(marked(text)) })
    .addHelpCommand(new Command('help').argument('[command]').description('show the help of a command').helpGroup('This machine:'))
    .addHelpText('after', `\n${exitCodesLine}\n${examplesText(name, table.examples)}`);
  program.option('-V, --version', 'print the version').on('option:version', () => {
    console.log(table.version());
    throw new CommanderError(exitCodes.ok, 'commander.version', '');
  });
  const all = { ...commands, completion: completionEntry(name, () => program) };
  for (const [word, entry] of Object.entries(all)) {
    const { group, description, options, notes, examples } = entry;
    const added = program.command(word).description(description).helpGroup(`${group}:`);
    for (const argument of entry.arguments ?? []) added.addArgument(argument);
    for (const option of options) added.addOption(suggesting(option));
    const helpWanted = args.includes(word) && (args.includes('--help') || args.includes('-h') || args[0] === 'help');
    const more = helpWanted ? await entry.moreNotes?.() : undefined;
    for (const text of [notes, more]) if (text !== undefined) added.addHelpText('after', `\n${text}`);
    added.addHelpText('after', examplesText(name, examples));
    added.action(async (...given: unknown[]) => {
      // Last comes commander's own object.
      code = await exitCodeOf(async () => entry.run(...(given.slice(0, -1) as never[])), { ...table.codes, ...entry.codes });
    });
  }
  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    // Commander has said what is wrong with the command line, or has printed help or version.
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  }
  return code;
}

/** Adds "did you mean", or else what the option is for, to what commander says about a word that is no choice. */
function suggesting(option: Option): Option {
  const { argChoices, parseArg } = option;
  if (argChoices === undefined || parseArg === undefined) return option;
  return option.argParser(<T>(word: string, previous: T): T => {
    try {
      return parseArg.call(option, word, previous) as T;
    } catch (error) {
      const meant = nearest(word, argChoices);
      const hint = meant === undefined ? `(${option.description})` : `Did you mean ${meant}?`;
      throw new InvalidArgumentError(`${(error as Error).message} ${hint}`);
    }
  });
}

function completionEntry(name: string, program: () => Command): CommandEntry {
  return {
    group: 'This machine',
    description: 'print a script for completion in the shell',
    arguments: [new Command().createArgument('<shell>', 'bash, zsh or fish').choices(shells)],
    options: [],
    examples: [
      `completion bash > ~/.local/share/bash-completion/completions/${name}`,
      `completion zsh > "\${fpath[1]}/_${name}"`,
      `completion fish > ~/.config/fish/completions/${name}.fish`,
    ],
    run: (shell: (typeof shells)[number]) => {
      console.log(completionScript(program(), shell));
      return exitCodes.ok;
    },
  };
}
