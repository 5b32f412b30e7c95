/**
 * Resident bytes that `work` adds, the smallest of three rounds: a leak shows in every round, the growth of heaps and pools
 * only in some.
 */
export function residentGrowth(work: () => void): number {
  const growth = Array.from({ length: 3 }, () => {
    const before = process.memoryUsage().rss;
    work();
    return process.memoryUsage().rss - before;
  });
  return Math.min(...growth);
}
