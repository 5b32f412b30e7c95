/**
 * Two processes of this machine that train together, with a thread each.
 *
 * - `buckets`: the mean of 132 MB of gradients, in one tensor and in buckets.
 * - `step`: a step of the digits preset by what it sends, against computing alone and reducing alone: what overlaps is what it takes less
 *   than both. On processors reductions take processor time themselves, so only idle cores let them overlap.
 * - `steady`: threads and resident memory over 1,000 steps.
 */
import os from 'node:os';
import { freePort } from '@dit-moe/tensor-ops/node';
import { BYTES, type Measured, measureTogether, type RankAnswer, type RankRequest } from './cluster/rank.js';
import { BenchmarkError, type BenchmarkOptions, type BenchmarkResult, result } from './harness/benchmark.js';

export const description = 'two processes that train together: reductions, steps and what they send, threads and memory';

const RANKS = 2;
const sections = ['buckets', 'step', 'steady'] as const;
/** How the optimizer is shared out. */
const SHARED = [0, 1, 2];

export async function run({ quick, only, log }: BenchmarkOptions): Promise<BenchmarkResult[]> {
  if (only !== undefined && !sections.some((section) => section === only))
    throw new BenchmarkError(`There is no section "${only}": ${sections.join(', ')}.`);
  const results: BenchmarkResult[] = [];
  const measure = async (name: string, request: RankRequest): Promise<void> => {
    const answers = await measureTogether(RANKS, await freePort(), request);
    for (const line of linesOf(name, answers)) {
      results.push(line);
      log(`${line.name}: ${line.value.toFixed(2)} ${line.unit} (load average ${os.loadavg()[0].toFixed(2)})`);
    }
  };
  const runs: Record<(typeof sections)[number], () => Promise<void>> = {
    buckets: () => measure(`mean of ${BYTES / 1e6} MB`, { section: 'buckets', steps: quick ? 3 : 8, overrides: [] }),
    async step() {
      for (const zero of SHARED)
        await measure(`digits, zero=${zero}`, { section: 'step', steps: quick ? 5 : 30, overrides: [`parallel.zero=${zero}`] });
    },
    steady: () => measure('digits, zero=1', { section: 'steady', steps: quick ? 100 : 1000, overrides: ['parallel.zero=1'] }),
  };
  for (const section of sections) if (only === undefined || only === section) await runs[section]();
  return results;
}

/** The largest of all ranks: the others wait for it. */
function linesOf(name: string, answers: readonly RankAnswer[]): BenchmarkResult[] {
  const largest = (key: string, of: (measured: Measured) => number): number => Math.max(...answers.map((answer) => of(answer[key])));
  return Object.entries(answers[0]).flatMap(([key, first]) => {
    const line = `${name}, ${key}`;
    if (typeof first !== 'number')
      return [
        result(
          line,
          'ms',
          'less',
          largest(key, (x) => (x as { clock: number }).clock),
          null,
        ),
        result(
          `${line}, processor`,
          'ms per rank',
          'less',
          largest(key, (x) => (x as { cpu: number }).cpu),
          null,
        ),
      ];
    const value = largest(key, Number);
    return [key.startsWith('sent') ? result(line, 'MB per rank', 'less', value / 1e6, null) : result(line, '', 'less', value, null)];
  });
}
