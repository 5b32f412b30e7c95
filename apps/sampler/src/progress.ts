/** One line about long work on stderr: rewritten in place on a terminal, printed now and then elsewhere. */

/** Seconds between two lines where the output is not a terminal. */
const PLAIN_INTERVAL_S = 10;

/** Formats seconds as `1:02:03` or `2:03`. */
export function formatDuration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  const pad = (n: number): string => String(n).padStart(2, '0');
  return s >= 3600 ? `${Math.floor(s / 3600)}:${pad(Math.floor(s / 60) % 60)}:${pad(s % 60)}` : `${Math.floor(s / 60)}:${pad(s % 60)}`;
}

/**
 * Reports `done` of `total` things, with rate and time left.
 * @param what what is counted, in the plural
 */
export function createProgress(what: string, total: number, stream: NodeJS.WriteStream = process.stderr) {
  const started = performance.now();
  let printed = Number.NEGATIVE_INFINITY;
  return {
    update(done: number): void {
      const now = performance.now();
      const rate = done / Math.max(1e-3, (now - started) / 1000);
      const left = formatDuration((total - done) / Math.max(rate, 1e-9));
      const line = `${done}/${total} ${what}  ${rate.toFixed(rate < 10 ? 2 : 0)}/s  ${left} left`;
      if (stream.isTTY) stream.write(`\r\x1b[K${line}${done >= total ? '\n' : ''}`);
      else if (now - printed >= PLAIN_INTERVAL_S * 1000 && done < total) {
        stream.write(`${line}\n`);
        printed = now;
      }
    },
  };
}
