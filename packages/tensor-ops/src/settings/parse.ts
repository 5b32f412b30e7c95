/** Reads settings, and says everything that is wrong with them at once. */
import { DitMoeError, type ErrorDetails } from '../errors.js';
import type { Problem, Setting } from './setting.js';

/** Settings are not as they are documented; `problems` has all that is wrong, the fields of the error are those of the first. */
export class SettingsError extends DitMoeError {
  static override readonly code: string = 'E_SETTINGS';
  constructor(
    what: string,
    readonly problems: readonly Problem[],
    details: Pick<ErrorDetails, 'code' | 'cause'> = {},
  ) {
    const [{ at, expected, found }] = problems;
    super(`${what} is not valid:${problems.map((problem) => `\n  ${sentence(problem)}`).join('')}`, {
      ...details,
      where: at,
      expected,
      found,
    });
  }
}

const LONGEST_SHOWN = 80;

function sentence({ at, expected, found, hint }: Problem): string {
  const value = JSON.stringify(found) ?? String(found);
  const shown = value.length > LONGEST_SHOWN ? `${value.slice(0, LONGEST_SHOWN)}...` : value;
  const where = at === '' ? '' : `${at}: `;
  const what =
    expected === 'no such setting' ? 'is not a setting.' : `expected ${expected}, found ${found === undefined ? 'nothing' : shown}.`;
  return `${where}${what}${hint === undefined ? '' : ` ${hint}`}`;
}

/**
 * The settings as the program takes them, with defaults filled in.
 * @param what they are called in errors, such as `The configuration`
 * @throws SettingsError naming every unknown field (with the known one that is nearest), wrong word, number out of range and missing field
 */
export function parseSettings<T>(setting: Setting<T>, json: unknown, what: string): T {
  const problems: Problem[] = [];
  const value = setting.read(json, '', problems);
  if (problems.length > 0) throw new SettingsError(what, problems);
  return value;
}
