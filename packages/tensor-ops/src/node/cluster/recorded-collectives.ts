/** What the ranks recorded: all must have the same collectives in the same order, or they wait for each other for ever. */

/** One collective of a recorded step. */
export interface RecordedCollective {
  /** Number of its group, and how many ranks are in it. */
  group: number;
  size: number;
  /** Its own number, which every rank counts alike. */
  instance: number;
  /** Kind, type and shape. */
  what: string;
}

/** The collectives of a step, in the order of recording. */
export interface RecordedStep {
  name: string;
  collectives: readonly RecordedCollective[];
}

/**
 * Who recorded something else than the ranks before it, and what; '' where all fit.
 * @param steps of every rank, in their order
 */
export function recordingDifference(steps: readonly RecordedStep[]): string {
  const [first] = steps;
  for (const [rank, { name, collectives }] of steps.entries()) {
    if (name !== first.name) return `the step is "${first.name}" on rank 0 and "${name}" on rank ${rank}`;
    if (collectives.length !== first.collectives.length)
      return `the step "${name}" has ${first.collectives.length} collectives on rank 0 and ${collectives.length} on rank ${rank}`;
  }
  for (const [i, { instance }] of first.collectives.entries()) {
    const where = `collective ${i + 1} of the step "${first.name}"`;
    // Groups are disjoint, and what one exchanges is nothing to another.
    const groups = new Map<number, { rank: number; what: string; missing: number }>();
    for (const [rank, { collectives }] of steps.entries()) {
      const { group, size, instance: own, what } = collectives[i];
      if (own !== instance) return `${where} is number ${instance} on rank 0 and ${own} on rank ${rank}`;
      const known = groups.get(group) ?? { rank, what, missing: size };
      if (known.what !== what) return `${where} is ${known.what} on rank ${known.rank} and ${what} on rank ${rank}`;
      groups.set(group, { ...known, missing: known.missing - 1 });
    }
    for (const { rank, missing } of groups.values())
      if (missing !== 0) return `${where} is in a group of rank ${rank} that other ranks count differently`;
  }
  return '';
}
