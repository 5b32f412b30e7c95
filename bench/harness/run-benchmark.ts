import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { BenchmarkError, type BenchmarkOptions, type BenchmarkResult } from './benchmark.js';

/** Results of a benchmark or of its section, by `pnpm bench` in a process of its own. */
export async function runBenchmark(name: string, { only, quick, log }: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const main = fileURLToPath(new URL('../main.ts', import.meta.url));
  const args = [name, ...(only === undefined ? [] : ['--only', only]), ...(quick ? ['--quick'] : []), '--json'];
  const child = fork(main, args, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  let [output, lastError] = ['', ''];
  child.stdout!.on('data', (bytes) => (output += bytes));
  child.stderr!.on('data', (bytes: Buffer) => {
    lastError = bytes.toString().trim() || lastError;
    log(bytes.toString().trim());
  });
  const code = await new Promise((resolve) => child.on('close', resolve));
  if (code !== 0) throw new BenchmarkError(lastError || `exit code ${code}`);
  return (JSON.parse(output) as { results: BenchmarkResult[] }).results;
}
