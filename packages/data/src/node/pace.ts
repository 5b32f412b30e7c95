/** Long loops that let the rest of the process live: signals, timers, the line of progress. */
import { setImmediate } from 'node:timers/promises';

/** Longest time between two turns of the event loop. */
const HOLD_MS = 50;

/**
 * Tells a loop when to rest: `for (...) { if (pace.due) await pace.rest(); ... }`. An `await` alone is no turn of the event loop, so
 * that a loop which only waits for what is there already holds everything up, too.
 */
export class Pace {
  private since = performance.now();

  get due(): boolean {
    return performance.now() - this.since > HOLD_MS;
  }

  /** One turn of the event loop. */
  async rest(): Promise<void> {
    await setImmediate();
    this.since = performance.now();
  }
}

/** Sorted in one go: some milliseconds. */
const BLOCK = 1024;

/** A sorted copy, as `toSorted` makes it. Millions of names take many seconds, during which the process goes on living. */
export async function sortedInTurns<T>(items: readonly T[], compare: (a: T, b: T) => number): Promise<T[]> {
  const pace = new Pace();
  let runs: T[][] = [];
  for (let start = 0; start < items.length; start += BLOCK) {
    runs.push(items.slice(start, start + BLOCK).sort(compare));
    if (pace.due) await pace.rest();
  }
  while (runs.length > 1) {
    const merged: T[][] = [];
    for (let i = 0; i < runs.length; i += 2) merged.push(i + 1 < runs.length ? await merge(runs[i], runs[i + 1], compare, pace) : runs[i]);
    runs = merged;
  }
  return runs[0] ?? [];
}

async function merge<T>(a: readonly T[], b: readonly T[], compare: (a: T, b: T) => number, pace: Pace): Promise<T[]> {
  const merged: T[] = [];
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    // Equal ones keep their order.
    merged.push(compare(a[i], b[j]) <= 0 ? a[i++] : b[j++]);
    if (merged.length % BLOCK === 0 && pace.due) await pace.rest();
  }
  for (; i < a.length; i++) merged.push(a[i]);
  for (; j < b.length; j++) merged.push(b[j]);
  return merged;
}
