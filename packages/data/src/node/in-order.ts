/** Results of `work(from)`, ..., `work(to - 1)` in this order, with up to `ahead` of them under way. */
export async function* inOrder<T>(from: number, to: number, ahead: number, work: (index: number) => Promise<T>): AsyncGenerator<T> {
  const running: Promise<T>[] = [];
  try {
    for (let next = from; next < to || running.length > 0; ) {
      while (next < to && running.length < ahead) {
        const started = work(next++);
        // Awaited in its turn; until then its failure must not count as unhandled.
        started.catch(() => {});
        running.push(started);
      }
      yield await running.shift()!;
    }
  } finally {
    await Promise.allSettled(running);
  }
}
