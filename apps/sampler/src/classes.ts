/** Classes as people write them: names or numbers, separated by commas. */
import { imagenetClasses, imagenetNames } from '@dit-moe/data';
import { UsageError } from '@dit-moe/kit';

/**
 * Labels of `text`, a comma-separated list of class names or numbers; all classes without it. A name goes before a number; a number
 * that is the name of one class and the number of another is refused, `#3` and `=3` say which is meant. ImageNet's classes may also be
 * written as their folders are called, `n01440764`.
 */
export function parseClasses(text: string | undefined, classNames: readonly string[]): number[] {
  if (text === undefined) return classNames.map((_, label) => label);
  return words(text, classNames).map((word) => labelOf(word, classNames, '--classes'));
}

/** The same where samples of no class can be asked for: `null` for the word `none`, unless a class is called so. */
export const parseClassesOrNone = (text: string | undefined, classNames: readonly string[]): (number | null)[] =>
  text?.trim() === 'none' && !classNames.includes('none') ? [null] : parseClasses(text, classNames);

/** Whether all of `text` are names among these; numbers are not looked at. */
export const areNames = (text: string, classNames: readonly string[]): boolean =>
  words(text, classNames).every((word) => classNames.includes(word) || (word.startsWith('=') && classNames.includes(word.slice(1))));

/** Names may hold commas themselves: the whole list first. */
const words = (text: string, classNames: readonly string[]): string[] =>
  (classNames.includes(text.trim()) ? [text] : text.split(',')).map((word) => word.trim());

/**
 * The class that a name or a number means.
 * @param option in which it stands, for errors
 * @throws UsageError if there is none, or if the word means several
 */
export function labelOf(word: string, classNames: readonly string[], option: string): number {
  const named = onlyNamed(word, classNames, option);
  const number = /^\d+$/.test(word) && Number(word) < classNames.length ? Number(word) : -1;
  if (named >= 0 && number >= 0 && named !== number)
    throw new UsageError(
      `${option}: "${word}" is the name of class number ${named}, and the number of the class named "${classNames[number]}". Write =${word} for the name or #${word} for the number.`,
    );
  if (named >= 0) return named;
  if (number >= 0) return number;
  const [sign, rest] = [word.slice(0, 1), word.slice(1)];
  if (sign === '=' && classNames.includes(rest)) return onlyNamed(rest, classNames, option);
  const folder = imagenetClasses.indexOf(word);
  if (folder >= 0 && classNames.join() === imagenetNames.join()) return folder;
  if (sign === '#' && /^\d+$/.test(rest) && Number(rest) < classNames.length) return Number(rest);
  throw new UsageError(
    `${option}: there is no class "${word}"; expected names or numbers from 0 to ${classNames.length - 1} (${classNames.slice(0, 10).join(', ')}).`,
  );
}

/** Number of the class of this name, -1 if there is none. */
function onlyNamed(name: string, classNames: readonly string[], option: string): number {
  const first = classNames.indexOf(name);
  const last = classNames.lastIndexOf(name);
  if (first === last) return first;
  throw new UsageError(`${option}: "${name}" is the name of several classes, such as ${first} and ${last}. Write #${first} or #${last}.`);
}
