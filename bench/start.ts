/** How long people wait before they see anything: built programs in processes of their own, as they are started from a shell. */
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { BenchmarkError, type BenchmarkOptions, type BenchmarkResult, result } from './harness/benchmark.js';
import { interleave, timer } from './harness/measure.js';

export const description = 'the first words of both programs, and the first picture, in fresh processes';

const program = (app: string): string => fileURLToPath(new URL(`../apps/${app}/dist/cli.js`, import.meta.url));

/** @throws BenchmarkError if the programs are not built */
export async function run({ only, quick, log }: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bench-start-'));
  const sections: Readonly<Record<string, readonly string[]>> = {
    'help of the trainer': [program('trainer'), '--help'],
    'help of the sampler': [program('sampler'), '--help'],
    'one digit in 12 steps': [program('sampler'), 'sample', 'digits', '--count', '1', '--steps', '12', '--out', path.join(folder, 'x.png')],
  };
  const names = Object.keys(sections).filter((name) => only === undefined || only === name);
  if (names.length === 0) throw new BenchmarkError(`There is no section "${only}": ${Object.keys(sections).join(', ')}.`);
  for (const app of ['trainer', 'sampler'])
    if (!fs.existsSync(program(app))) throw new BenchmarkError(`${program(app)} is not there: run \`pnpm build\` first.`);
  log(`load average ${os.loadavg()[0].toFixed(2)}`);
  try {
    const sides = names.map((name) => timer(async () => void (await promisify(execFile)(process.execPath, [...sections[name]]))));
    const seconds = await interleave(sides, { warmUp: 1, rounds: quick ? 5 : 15, perRound: 1 });
    return names.map((name, i) => result(name, 's', 'less', seconds[i], null));
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}
