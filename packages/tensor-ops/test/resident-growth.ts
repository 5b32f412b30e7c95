import v8 from 'node:v8';
import vm from 'node:vm';

v8.setFlagsFromString('--expose-gc');
const collect = vm.runInNewContext('gc') as () => void;

/** The first collection leaves buffers for another thread to free; the second waits for it. */
export function collectGarbage(): void {
  collect();
  collect();
}

/**
 * Resident bytes that `work` adds beside garbage, the smallest of three rounds: a leak shows in every round, the growth of
 * pools only in some. What a collection has not found yet grows in all of them where other programs leave it no time.
 */
export function residentGrowth(work: () => void): number {
  const resident = () => {
    collectGarbage();
    return process.memoryUsage().rss;
  };
  const growth = Array.from({ length: 3 }, () => {
    const before = resident();
    work();
    return resident() - before;
  });
  return Math.min(...growth);
}
