/** How far the sampling is, and how long it will take. */
import { useEffect, useState } from 'preact/hooks';
import type { Run } from './frames.js';

const TICK_MS = 500;

/** Seconds as `2 min 3 s`, or `12 s`. */
export function duration(seconds: number): string {
  const s = Math.ceil(seconds);
  return s < 60 ? `${s} s` : `${Math.floor(s / 60)} min ${s % 60} s`;
}

/** Share of the work that is done, from 0 to 1: every run counts alike. */
export function shareDone(runs: readonly Run[]): number {
  const shares = runs.map(({ images, frames }) => {
    const last = frames.at(-1);
    return images !== undefined ? 1 : last === undefined ? 0 : last.step / last.steps;
  });
  return shares.reduce((sum, share) => sum + share, 0) / Math.max(1, shares.length);
}

export function ProgressBar({ runs, since }: { runs: readonly Run[]; since: number }) {
  const [now, setNow] = useState(performance.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(performance.now()), TICK_MS);
    return () => clearInterval(timer);
  }, []);
  const share = shareDone(runs);
  const passed = Math.max(0, now - since) / 1000;
  // The first steps are slow: they also prepare the others.
  const left = share > 0.05 ? `about ${duration((passed * (1 - share)) / share)} left` : `${duration(passed)} so far`;
  return (
    <div class="progress">
      <progress max={1} value={share} aria-label="Progress" />
      <span>{left}</span>
    </div>
  );
}
