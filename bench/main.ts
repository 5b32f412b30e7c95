/** `pnpm bench <name> [--only <section>] [--json] [--quick]`: runs one of the benchmarks that lie beside this file. */
import fs from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { DitMoeError } from '@dit-moe/tensor-ops';
import { type Benchmark, BenchmarkError } from './harness/benchmark.js';
import { formatTable } from './harness/table.js';

async function loadBenchmark(name: string): Promise<Benchmark> {
  return (await import(new URL(`./${name}.ts`, import.meta.url).href)) as Benchmark;
}

async function benchmarkNames(): Promise<string[]> {
  const files = await fs.readdir(new URL('.', import.meta.url));
  return files.filter((file) => /^[a-z][a-z-]*\.ts$/.test(file) && file !== 'main.ts').map((file) => file.slice(0, -3));
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { json: { type: 'boolean' }, quick: { type: 'boolean' }, only: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
  });
  const names = await benchmarkNames();
  if (values.help) {
    console.log('pnpm bench <name> [--only <section>] [--json] [--quick]\n');
    for (const name of names) console.log(`  ${name}  ${(await loadBenchmark(name)).description}`);
    return;
  }
  const [name] = positionals;
  if (positionals.length !== 1 || !names.includes(name)) throw new BenchmarkError(`Name one benchmark: ${names.join(', ')}.`);
  const results = await (await loadBenchmark(name)).run({
    quick: values.quick ?? false,
    ...(values.only !== undefined && { only: values.only }),
    log: (message) => process.stderr.write(`${message}\n`),
  });
  console.log(values.json ? JSON.stringify({ results }) : formatTable(results));
}

try {
  await main();
} catch (error) {
  const { message, code } = error as Error & { code?: string };
  const usage = error instanceof BenchmarkError || code?.startsWith('ERR_PARSE_ARGS') === true;
  process.stderr.write(`${usage || DitMoeError.isInstance(error) ? message : (error as Error).stack}\n`);
  process.exitCode = usage ? 2 : 1;
}
