/** Processes on this machine as a cluster: the collectives' numbers, and what the others see when one fails. */
import { describe, expect, test } from 'vitest';
import { taskOf } from '../../src/node/cluster/server-def.js';
import { runRanks } from './ranks.js';

interface Numbers {
  shape: number[];
  values: number[];
}
type Results = Record<'sum' | 'max' | 'min' | 'scatter' | 'gather' | 'exchange' | 'halfGather' | 'scalar', Numbers>;
interface Report {
  rank: number;
  devices: string[];
  eager: Results;
  compiled: Results;
  again: Results;
  hashes: string[];
  gradient: number[][];
  groups: Record<'near' | 'all', Numbers>;
  refused: string[];
}

/** What `all` of the program gives on `rank`, by plain arithmetic. */
function expected(rank: number, size: number, scale: number): Results {
  const rows = Array.from({ length: size }, (_, r) => Array.from({ length: 2 * size }, (_, i) => scale * (r + 1) + i));
  const over = (f: (values: number[]) => number) => rows[0].map((_, i) => f(rows.map((row) => row[i])));
  const sum = over((values) => values.reduce((a, b) => a + b, 0));
  const numbers = (values: number[], shape = [values.length]): Numbers => ({ shape, values });
  return {
    sum: numbers(sum),
    max: numbers(over((values) => Math.max(...values))),
    min: numbers(over((values) => Math.min(...values))),
    scatter: numbers(sum.slice(2 * rank, 2 * rank + 2)),
    gather: numbers(rows.flat()),
    exchange: numbers(
      rows.flatMap((row) => row.slice(2 * rank, 2 * rank + 2)),
      [size, 2],
    ),
    // The numbers are whole and, of 12 processes too, below 256, which bfloat16 holds.
    halfGather: numbers(rows.flat()),
    scalar: { shape: [], values: [(size * (size - 1)) / 2] },
  };
}

/** Whether there is time for many processes: `pnpm test:nightly`. */
const nightly = process.env['DIT_MOE_NIGHTLY'] === '1';

test.each([2, 3])('collectives of %i processes: numbers, groups, gradients, the same bits everywhere', checkCollectives);
// Ranks are members by the names of their devices, which sort 10 before 2.
test.skipIf(!nightly).each([4, 12])('collectives of %i processes (nightly)', checkCollectives);

async function checkCollectives(size: number): Promise<void> {
  const results = await runRanks('collectives.ts', [], size);
  for (const { code, stderr } of results) expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
  const reports = results.map(({ result }) => result as Report);
  for (const { rank, devices, eager, compiled, again, hashes, gradient, groups, refused } of reports) {
    expect(devices[0]).toBe(`/job:worker/replica:0/task:${taskOf(rank, size)}/device:CPU:0`);
    expect(eager).toEqual(expected(rank, size, 10));
    expect(compiled).toEqual(expected(rank, size, 10));
    expect(again).toEqual(expected(rank, size, 15));
    expect(hashes).toEqual([reports[0].hashes[0], reports[0].hashes[0]]);
    // Row r of the result of exchange came from rank r, where it was weighed with that rank's row for us.
    expect(gradient).toEqual(Array.from({ length: size }, (_, r) => [0, 1].map((i) => 3 * (r + 1) + 2 * rank + i)));
    const near = Array.from({ length: size }, (_, r) => (r % 2 === rank % 2 ? 2 ** r : 0)).reduce((a, b) => a + b);
    expect(groups).toEqual({ near: { shape: [], values: [near] }, all: { shape: [], values: [2 ** size - 1] } });
    expect(refused).toEqual(Array(5).fill('E_ARGUMENT'));
  }
}

interface Seen {
  code: string;
  message: string;
  steps: number;
  /** What became of the next collective, and after how long. */
  later: { code: string; message: string; ms: number };
}

describe('when one process fails, the other ends with a sentence', () => {
  test.each([
    ['is killed', 'kill', 1, 3, /during step 3: (Socket closed|recvmsg:Connection reset by peer|its connection was closed) \(rank 1\)$/],
    ['leads and is killed', 'kill', 0, 3, /during step 3: .* \(rank 0\)$/],
    ['leads and is killed before the other comes', 'kill while the others compute', 0, 3, /during step 3: .* \(rank 0\)$/],
    [
      'is killed before the other comes',
      'kill while the others compute',
      1,
      3,
      /during step 3: (.*failed to connect to all addresses.*|Socket closed|its connection was closed) \(rank 1\)$/,
    ],
    [
      'is killed while the other waits at a barrier',
      'kill before a barrier',
      1,
      3,
      /during the barrier here: its connection was closed \(rank 1\)$/,
    ],
    ['says why it stops', 'report', 1, 3, /during step 3: rank 1: the disk is full$/],
    ['does not come', 'absent', 1, 3, /rank 0 waited 3 s for the others in step 3$/],
    ['stands still', 'stop', 1, 3, /during step 3: .*stopped sending heartbeats.*rank 1/],
    ['leaves without a word', 'exit', 1, 3, /during step 3: .* \(rank 1\)$/],
    ['records another step later', 'type', 1, 3, /rank [01] waited 3 s for the others in step 3/],
    ['records another shape', 'shape at first', 1, 0, /different steps: .* float32 \[1000\] on rank 0 and .* float32 \[999\] on rank 1\.$/],
    ['records another type', 'type at first', 1, 0, /different steps: .* float32 \[1000\] on rank 0 and .* int32 \[1000\] on rank 1\.$/],
    ['records other collectives', 'order at first', 1, 0, /"step" has 1 collectives on rank 0 and 2 on rank 1\.$/],
  ])('%s', async (_, fault, who, steps, message) => {
    const results = await runRanks('fault.ts', [fault, String(who)], 2);
    const { result, code } = results[1 - who];
    const seen = result as Seen;
    expect(seen).toMatchObject({ code: 'E_PEER', message: expect.stringMatching(message), steps });
    expect(code).toBe(9);
    // Nothing waits after a failure: for another process it would be a minute, or until heartbeats have been missed.
    expect(seen.later.code).toBe('E_PEER');
    expect(seen.later.ms).toBeLessThan(10_000);
  });
});
