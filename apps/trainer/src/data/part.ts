/** A data set in two parts: what is trained on, and what is held out. */
import { DataError } from '@dit-moe/kit';
import { permutation } from '@dit-moe/tensor-ops';
import type { TrainConfig } from '../config/schema.js';

/** A share of a data set that is kept from training. */
export interface HoldOut {
  /** In (0, 1); rounded to whole records, at least one. */
  share: number;
  /** Chooses which. */
  seed: number;
}

/** Some of a data set's records. */
export interface Part {
  /** Their numbers, ascending, of so many. */
  recordsOf(count: number): Int32Array;
  /** What the summary says of them. */
  describe(count: number): string;
  /** What the fingerprint says of them. */
  readonly name: string;
}

/**
 * The two parts of a data set, which depend on its size, the share and the seed alone.
 * @throws DataError (of `recordsOf`) if nothing would be left to train on
 */
export function partsOf({ share, seed }: HoldOut): { training: Part; heldOut: Part } {
  const number = (count: number): number => Math.max(1, Math.round(share * count));
  const chosen = (count: number): Uint8Array => {
    const held = number(count);
    if (held >= count)
      throw new DataError(
        `validation.share = ${share} of ${count} images leaves nothing to train on. Give a smaller share, or validation.path.`,
      );
    const at = permutation({ seed, purpose: 'validation', epoch: 0 }, count);
    const marks = new Uint8Array(count);
    for (let i = 0; i < held; i++) marks[at(i)] = 1;
    return marks;
  };
  const part = (mark: number, describe: Part['describe'], name: string): Part => ({
    describe,
    name,
    recordsOf(count) {
      const marks = chosen(count);
      const records = new Int32Array(mark === 1 ? number(count) : count - number(count));
      let next = 0;
      for (let i = 0; i < count; i++) if (marks[i] === mark) records[next++] = i;
      return records;
    },
  });
  return {
    training: part(0, (count) => `${number(count)} of them held out for validation`, `without ${share} by seed ${seed}`),
    heldOut: part(1, (count) => `the ${number(count)} of them that are held out`, `${share} by seed ${seed}`),
  };
}

/** Which part of its data a run trains on; undefined for all of them. */
export function trainingPart({ validation }: TrainConfig): Part | undefined {
  if (validation?.share === undefined) return undefined;
  return partsOf({ share: validation.share, seed: validation.seed }).training;
}
