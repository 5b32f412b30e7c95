/** Scripts that let the shell complete commands, options and their values; made from the command table itself. */
import type { Command } from 'commander';

/** Shells that there is a script for. */
export const shells = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof shells)[number];

/** The script of a shell. */
export function completionScript(program: Command, shell: Shell): string {
  return shell === 'fish' ? fishScript(program) : bashScript(program, shell === 'zsh');
}

interface Described {
  name: string;
  description: string;
  options: { long: string; description: string; choices: readonly string[]; takesValue: boolean }[];
  choices: readonly string[];
}

function describeCommands(program: Command): Described[] {
  return program.commands.map((command) => ({
    name: command.name(),
    description: command.description(),
    choices: command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []),
    options: command.options.map(({ long, description, argChoices, required, optional }) => ({
      long: long!,
      description,
      choices: argChoices ?? [],
      takesValue: required || optional,
    })),
  }));
}

/** Bash, and zsh through its emulation of bash's completion. */
function bashScript(program: Command, zsh: boolean): string {
  const name = program.name();
  const commands = describeCommands(program);
  const cases = commands.map(({ name, options, choices }) => {
    const values = options
      .filter((option) => option.choices.length > 0)
      .map(({ long, choices }) => `      ${long}) COMPREPLY=($(compgen -W "${choices.join(' ')}" -- "$word")); return ;;`);
    return `  ${name})
    case "$before" in
${values.join('\n')}
    esac
    words="${[...options.map(({ long }) => long), ...choices].join(' ')}" ;;`;
  });
  const complete = `_${name.replaceAll('-', '_')}`;
  const [before, after] = zsh ? aroundInZsh(name, complete) : ['', ''];
  return `${before}${complete}() {
  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}" words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${commands.map(({ name }) => name).join(' ')} --help" -- "$word"))
    return
  fi
  case "\${COMP_WORDS[1]}" in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words --help" -- "$word"))
}
complete -o default -F ${complete} ${name}${after}`;
}

/**
 * What zsh needs before and after bash's script. It may be sourced, also by a shell that has not begun to complete, or lie in a folder
 * of `fpath`: then zsh runs it at the first use, which is to be answered, too.
 */
const aroundInZsh = (name: string, complete: string): [string, string] => [
  `#compdef ${name}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
autoload -U +X bashcompinit && bashcompinit
`,
  `
[[ \${funcstack[1]} != _${name} ]] || _bash_complete -o default -F ${complete}`,
];

function fishScript(program: Command): string {
  const name = program.name();
  const quote = (text: string): string => `'${text.replaceAll("'", "\\'")}'`;
  const lines = describeCommands(program).flatMap(({ name: command, description, options, choices }) => [
    `complete -c ${name} -n __fish_use_subcommand -f -a ${command} -d ${quote(description)}`,
    ...choices.map((choice) => `complete -c ${name} -n '__fish_seen_subcommand_from ${command}' -f -a ${choice}`),
    ...options.map((option) => {
      const value = option.choices.length > 0 ? ` -x -a ${quote(option.choices.join(' '))}` : option.takesValue ? ' -r' : '';
      return `complete -c ${name} -n '__fish_seen_subcommand_from ${command}' -l ${option.long.slice(2)}${value} -d ${quote(option.description)}`;
    }),
  ]);
  return lines.join('\n');
}
