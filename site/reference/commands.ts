/** Every command with its options, from the tables that parse them. */
import type { CommandEntry, ProgramTable } from '../../apps/kit/src/index.js';
import { program as sampler } from '../../apps/sampler/src/program.js';
import { program as trainer } from '../../apps/trainer/src/program.js';
import { table } from './table.js';

export async function commandsPage(): Promise<string> {
  const programs = await Promise.all([trainer, sampler].map(programPart));
  return `# Commands

You know what you want to do and look for the command and its options. The same is printed by
\`dit-moe-trainer COMMAND --help\` and \`dit-moe-sampler COMMAND --help\`; \`completion bash\` (or \`zsh\`,
\`fish\`) prints a script that lets the shell complete all of it; \`completion --help\` says where it
goes. What a process ends with is in [exit codes](exit-codes.md).

${programs.join('\n\n')}
`;
}

async function programPart({ name, description, commands }: ProgramTable): Promise<string> {
  const parts = Object.entries(commands).map(async ([word, entry]) => {
    const values = [...(entry.arguments ?? [])].map((argument) => ({
      argument,
      text: argument.required ? `<${argument.name()}>` : `[${argument.name()}]`,
    }));
    const notes = [entry.notes, await entry.moreNotes?.()].filter((text) => text !== undefined);
    return [
      `### \`${name} ${word}\``,
      `${entry.description[0].toUpperCase()}${entry.description.slice(1)}.`.replaceAll('<', '\\<'),
      `\`\`\`\n${[name, word, ...(entry.options.length > 0 ? ['[options]'] : []), ...values.map(({ text }) => text)].join(' ')}\n\`\`\``,
      ...(values.length === 0
        ? []
        : [
            table(
              ['argument', 'what it is'],
              values.map(({ argument, text }) => [`\`${text}\``, argument.description]),
            ),
          ]),
      ...(entry.options.length === 0 ? [] : [table(['option', 'default', 'what it does'], entry.options.map(optionRow))]),
      ...(notes.length === 0 ? [] : [`\`\`\`text\n${notes.join('\n\n')}\n\`\`\``]),
      `\`\`\`sh\n${exampleLines(name, entry.examples).join('\n')}\n\`\`\``,
    ].join('\n\n');
  });
  return `## \`${name}\`\n\n${description}\n\n${(await Promise.all(parts)).join('\n\n')}`;
}

/** Examples of a table of commands as lines of a shell, where what is said of them behind three spaces is a comment. */
export const exampleLines = (program: string, examples: readonly string[]): string[] =>
  examples.map((line) => `${program} ${line.replace(/ {3,}(?=\S)/, ' # ')}`);

/** Presets are many, and have a page of their own. */
const MANY_CHOICES = 20;

function optionRow({ flags, description, argChoices, defaultValue, mandatory }: CommandEntry['options'][number]): string[] {
  const choices =
    argChoices === undefined
      ? ''
      : argChoices.length > MANY_CHOICES
        ? ' (see [presets](presets.md))'
        : `; one of ${argChoices.map((word) => `\`${word}\``).join(', ')}`;
  const [, said] = / \(default: ((?:[^()]|\([^()]*\))*)\)/.exec(description) ?? [];
  const isNothing = defaultValue === undefined || defaultValue === false || (Array.isArray(defaultValue) && defaultValue.length === 0);
  const without = mandatory ? 'required' : isNothing ? (said ?? '') : `\`${String(defaultValue)}\``;
  return [`\`${flags}\``, without, `${description.replace(/ \(default: ([^()]|\([^()]*\))*\)/, '')}${choices}`];
}
