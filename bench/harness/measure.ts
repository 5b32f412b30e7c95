/**
 * Timing of two sides in turns, so that a change of the machine's speed or load meets both.
 */

/** Runs an operation `count` times and returns the seconds of each. */
export type Timer = (count: number) => Promise<number[]>;

export interface Repetitions {
  /** Runs of each side before anything counts: first runs allocate and compile. */
  warmUp: number;
  /** Turns of each side. */
  rounds: number;
  /** Runs per turn. */
  perRound: number;
}

/** Median; the mean of the middle two of an even number. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Median seconds of each side; every second round runs the sides in reverse, so that neither always comes after the other. */
export async function interleave(sides: readonly Timer[], { warmUp, rounds, perRound }: Repetitions): Promise<number[]> {
  for (const side of sides) await side(warmUp);
  const seconds: number[][] = sides.map(() => []);
  for (let round = 0; round < rounds; round++) {
    const order = sides.map((_, i) => i);
    for (const i of round % 2 === 0 ? order : order.reverse()) seconds[i].push(...(await sides[i](perRound)));
  }
  return seconds.map(median);
}

/** Times a function of this process. */
export function timer(operation: () => void | Promise<void>): Timer {
  return async (count) => {
    const seconds: number[] = [];
    for (let i = 0; i < count; i++) {
      const start = performance.now();
      await operation();
      seconds.push((performance.now() - start) / 1000);
    }
    return seconds;
  };
}

/** Processor seconds of this process for a function, all threads together: what other programs disturb less. */
export function processorTimer(operation: () => Promise<void>): Timer {
  return async (count) => {
    const seconds: number[] = [];
    for (let i = 0; i < count; i++) {
      const before = process.cpuUsage();
      await operation();
      const { user, system } = process.cpuUsage(before);
      seconds.push((user + system) / 1e6);
    }
    return seconds;
  };
}
