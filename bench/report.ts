/**
 * All that is said of the speed, measured in one go on a quiet machine and written as a page of its own: each section in a process of its
 * own, and before and after it the matrix products of its step alone.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { DitMoeError, type Precision } from '@dit-moe/tensor-ops';
import { BATCH, type Workload } from './engine/model.js';
import { BenchmarkError, type BenchmarkOptions, type BenchmarkResult } from './harness/benchmark.js';
import { findPython } from './harness/peer.js';
import { runBenchmark } from './harness/run-benchmark.js';
import { drawRatios, reportPage } from './report/page.js';
import { timeProducts } from './report/products.js';
import { machineName, type ReportRow, readRecords, type SpeedRecord, withEarlier } from './report/record.js';

export const description =
  'everything in some 40 minutes, as --quick, written to docs/measurements; sections, as --only start,memory, are added to the page of the day; refuses a loaded machine';

interface Section {
  bench: string;
  /** The benchmark's own section; all of them without. */
  only?: string;
  /** What the peer is. */
  against: string;
  /** The step whose products are its limit. */
  step?: { workload: Workload; precision: Precision };
}

const sections: Readonly<Record<string, Section>> = {
  'train-f32': { bench: 'engine', only: 'train-f32', against: 'PyTorch', step: { workload: 'train', precision: 'f32' } },
  'train-bf16': { bench: 'engine', only: 'train-bf16', against: 'PyTorch', step: { workload: 'train', precision: 'bf16' } },
  'forward-f32': { bench: 'engine', only: 'forward-f32', against: 'PyTorch', step: { workload: 'forward', precision: 'f32' } },
  'forward-bf16': { bench: 'engine', only: 'forward-bf16', against: 'PyTorch', step: { workload: 'forward', precision: 'bf16' } },
  'forward-int8': { bench: 'engine', only: 'forward-int8', against: 'PyTorch' },
  cache: { bench: 'sample', only: 'cache', against: 'no cache' },
  trainer: { bench: 'train', only: 'digits', against: 'bare step' },
  solvers: { bench: 'diffusion', against: 'diffusers' },
  'autoencoder-encode': { bench: 'vae', only: 'encode-256', against: 'diffusers' },
  'autoencoder-decode': { bench: 'vae', only: 'decode-256', against: 'diffusers' },
  metrics: { bench: 'metrics', against: 'PyTorch, SciPy' },
  start: { bench: 'start', against: 'nothing' },
  loading: { bench: 'io', against: 'plain reads' },
  memory: { bench: 'memory', against: 'described' },
  experts: { bench: 'moe', only: 'experts', against: '8 experts' },
  auto: { bench: 'moe', only: 'auto', against: 'fastest dispatcher' },
};
/** Rounds of a step's products, before and after it. */
const PRODUCT_ROUNDS = 5;

/** With more than this, other programs would be measured too. */
const QUIET = 1.5;

/** Other programs use the machine. */
export class LoadedMachineError extends DitMoeError {
  static override readonly code = 'E_LOADED_MACHINE';
  constructor(load: number) {
    super(`The load average is ${load.toFixed(2)}: other programs use this machine, or did a minute ago.`, {
      expected: `below ${QUIET}`,
      found: load.toFixed(2),
      hint: 'End them, wait a few minutes, and run the report again; single sections can be measured at any load.',
    });
  }
}

const docs = fileURLToPath(new URL('../docs/', import.meta.url));

/**
 * Runs all sections and writes the page; those of `only`, separated by commas, are measured again into the page of the day.
 * @throws LoadedMachineError before anything is run
 */
export async function run({ only, log }: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const asked = only?.split(',') ?? Object.keys(sections);
  const unknown = asked.find((name) => !Object.hasOwn(sections, name));
  if (unknown !== undefined) throw new BenchmarkError(`There is no section "${unknown}": ${Object.keys(sections).join(', ')}.`);
  const names = Object.keys(sections).filter((name) => asked.includes(name));
  const load = os.loadavg()[0];
  if (load >= QUIET) throw new LoadedMachineError(load);
  const started = performance.now();
  const machine = describeMachine();
  const commit = one('git', 'describe', '--always', '--dirty');
  const rows: ReportRow[] = [];
  const failed: SpeedRecord['failed'][number][] = [];
  for (const section of names) {
    const { bench, only: part, against, step } = sections[section];
    log(`${section} (${((performance.now() - started) / 60_000).toFixed(1)} minutes)`);
    try {
      const limit = async (): Promise<number | undefined> => {
        if (step === undefined) return undefined;
        const { seconds, version } = await timeProducts({ ...step, rounds: PRODUCT_ROUNDS });
        machine.versions['TensorFlow'] = version;
        return seconds;
      };
      const before = await limit();
      const results = await runBenchmark(bench, {
        ...(part !== undefined && { only: part }),
        quick: true,
        log: (line) => log(`  ${line.replaceAll('\n', '\n  ')}`),
      });
      const after = await limit();
      for (const row of results) {
        const isStep = row.name === section && before !== undefined && after !== undefined;
        rows.push({ section, against, commit, ...row, ...(isStep && { share: (((before + after) / 2) * row.value) / BATCH }) });
      }
    } catch (error) {
      const reason = (error as Error).message.split('\n')[0];
      log(`${section} failed: ${reason}`);
      failed.push({ section, reason });
    }
  }
  if (rows.length === 0) throw new BenchmarkError('No section could be measured: nothing is written.');
  write({ ...machine, load, minutes: (performance.now() - started) / 60_000, rows, failed }, log);
  return rows;
}

const one = (command: string, ...args: string[]): string => execFileSync(command, args, { encoding: 'utf8' }).trim();

function describeMachine(): Omit<SpeedRecord, 'load' | 'minutes' | 'rows' | 'failed'> {
  const python = findPython();
  return {
    date: new Date().toISOString().slice(0, 10),
    processor: os.cpus()[0].model.replaceAll(/\s+/g, ' ').trim(),
    instructions: instructions(),
    cores: os.availableParallelism(),
    gibibytes: Math.round(os.totalmem() / 2 ** 30),
    versions: {
      Node: process.versions.node,
      ...(python !== undefined && { PyTorch: one(python, '-c', 'import torch; print(torch.__version__)') }),
    },
  };
}

/** Those of this processor that decide how fast its products are; none where the system does not tell. */
function instructions(): string[] {
  const info = fs.existsSync('/proc/cpuinfo') ? fs.readFileSync('/proc/cpuinfo', 'utf8') : '';
  const flags = /^flags\s*:(.*)$/m.exec(info)?.[1].trim().split(' ') ?? [];
  return ['avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'avx512_fp16', 'amx_bf16', 'amx_int8'].filter((name) => flags.includes(name));
}

/** The record with what the day has already, the page, the chart over all records, and the link to the page. */
function write(measured: SpeedRecord, log: (message: string) => void): void {
  const [name, folder] = [machineName(measured), path.join(docs, 'measurements/speed')];
  fs.mkdirSync(folder, { recursive: true });
  const before = readRecords(folder).filter((one) => machineName(one) === name);
  const earlier = before.find(({ date }) => date === measured.date);
  const record = earlier === undefined ? measured : withEarlier(measured, earlier, Object.keys(sections));
  const file = `${measured.date}-${name}`;
  fs.writeFileSync(path.join(folder, `${file}.json`), `${JSON.stringify(record, undefined, 1)}\n`);
  const chart = drawRatios([...before.filter((one) => one !== earlier), record]);
  if (chart !== undefined) fs.writeFileSync(path.join(docs, `figures/speed-${name}.svg`), `${chart}\n`);
  const page = path.join(docs, `measurements/${file}.md`);
  fs.writeFileSync(page, reportPage(record, chart === undefined ? undefined : `../figures/speed-${name}.svg`));
  const index = path.join(docs, 'README.md');
  const text = fs.readFileSync(index, 'utf8');
  const link = `- [Speed, ${measured.date}, ${name}](measurements/${file}.md)\n`;
  if (!text.includes(link)) {
    const at = text.lastIndexOf('(measurements/');
    const end = text.indexOf('\n', at) + 1;
    fs.writeFileSync(index, text.slice(0, end) + link + text.slice(end));
  }
  log(`written: ${page}`);
}
