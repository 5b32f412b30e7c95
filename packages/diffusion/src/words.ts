/** Words that are misspelt are refused with the one that was meant. */
import { ArgumentError } from '@dit-moe/tensor-ops';
import { nearest } from '@dit-moe/tensor-ops/settings';

/** @throws ArgumentError unless `word` is one of `known` */
export function checkWord(where: string, word: string, known: readonly string[]): void {
  if (known.includes(word)) return;
  const meant = nearest(String(word), known);
  throw new ArgumentError(where, known.join(', '), word, meant === undefined ? {} : { hint: `Did you mean ${meant}?` });
}
