/** Exit codes and the errors that end with them, from the tables of both programs. */
import { exitCodes } from '../../apps/kit/src/index.js';
import { exitCodeTable as samplerErrors } from '../../apps/sampler/src/errors.js';
import { program as sampler } from '../../apps/sampler/src/program.js';
import { exitCodeTable as trainerErrors } from '../../apps/trainer/src/errors.js';
import { program as trainer } from '../../apps/trainer/src/program.js';
import { commentedProperties } from './source-comments.js';
import { table } from './table.js';

export function exitCodesPage(): string {
  const meanings = new Map(commentedProperties('apps/kit/src/exit-codes.ts', 'exitCodes').map(({ path, before }) => [path, before]));
  const errorsOf = (code: number): string =>
    [
      ...new Set(
        [...Object.entries(trainerErrors), ...Object.entries(samplerErrors)]
          .filter(([, value]) => value === code)
          .map(([name]) => `\`${name}\``),
      ),
    ]
      .sort()
      .join(', ');
  const names = new Map<number, string>(Object.entries(exitCodes).map(([name, code]) => [code, name]));
  const inCommands = [trainer, sampler].flatMap(({ name, codes: usual, commands }) =>
    Object.entries(commands).flatMap(([word, { codes = {} }]) =>
      Object.entries(codes).map(([error, code]) => [
        `\`${name} ${word}\``,
        `\`${error}\``,
        `${code} (${names.get(code)!})`,
        `${usual[error]} (${names.get(usual[error])!})`,
      ]),
    ),
  );
  const rows = Object.entries(exitCodes).map(([name, code]) => [String(code), name, meanings.get(name)!, errorsOf(code)]);
  return `# Exit codes

A script or a scheduler has to know how a command ended. The same number means the same in both
programs. Behind each are the codes of the errors that end with it; an error's code is its class's
field \`code\`, and it never changes.

${table(['code', 'name', 'what it means', 'errors'], [...rows, ['128 + n', '', 'Ended by signal n before everything was saved.', '']])}

## Where an error means something else

These commands meet the error in another role, such as \`encode\`, which writes the cache that others
read.

${table(['command', 'error', 'code there', 'elsewhere'], inCommands)}
`;
}
