/**
 * Peak memory of compiled steps at small depths, against what `describe` says of the same depth. Each depth runs in a process of its own;
 * the difference of two depths is what a block adds. `--only` takes the name of a case.
 */
import { type DitConfig, describeModel, preset } from '@dit-moe/dit';
import type { Precision } from '@dit-moe/tensor-ops';
import type { Workload } from './engine/model.js';
import { BenchmarkError, type BenchmarkOptions, type BenchmarkResult, result } from './harness/benchmark.js';
import { stepPeak } from './memory/step-peak.js';

export const description = 'peak memory of steps at small depths, against what describe says; cost of recomputation';

interface Case {
  name: string;
  workload: Workload;
  model: string;
  imageSize: number;
  batch: number;
  precision: Precision;
  recompute?: true;
  depths: readonly [number, number];
}

const train = (model: string, imageSize: number, batch: number, depths: Case['depths']): Case[] =>
  (['f32', 'bf16'] as const).flatMap((precision) =>
    ([undefined, true] as const).map((recompute) => ({
      name: `train-${model.replaceAll('/', '')}-${imageSize}-${precision}${recompute ? '-recompute' : ''}`,
      workload: 'train' as const,
      ...{ model, imageSize, batch, precision, depths },
      ...(recompute && { recompute }),
    })),
  );
const forward = (model: string, imageSize: number, batch: number, depths: Case['depths']): Case[] =>
  (['f32', 'bf16'] as const).map((precision) => ({
    name: `forward-${model.replaceAll('/', '')}-${imageSize}-${precision}`,
    workload: 'forward' as const,
    ...{ model, imageSize, batch, precision, depths },
  }));

const cases: Case[] = [
  ...train('S/2-8E2A', 256, 8, [2, 6]),
  ...train('S/2-8E2A', 512, 4, [2, 6]),
  ...train('B/2', 256, 8, [2, 6]),
  ...train('L/2-8E2A', 256, 2, [1, 2]),
  ...forward('XL/2-8E2A', 512, 2, [1, 3]),
];

const MEBIBYTE = 2 ** 20;

export async function run({ quick, only, log }: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const chosen = cases.filter(({ name }) =>
    only === undefined ? !quick || name.startsWith('train-S2-8E2A-512-f32') : name.includes(only),
  );
  if (chosen.length === 0) throw new BenchmarkError(`Name a case: ${cases.map(({ name }) => name).join(', ')}.`);
  const results: BenchmarkResult[] = [];
  for (const { name, model, imageSize, depths, ...options } of chosen) {
    const { batch, precision, workload, recompute = false } = options;
    const at = async (depth: number) => {
      const config: DitConfig = { ...preset(model, { imageSize }), depth };
      const description = describeModel(config, { batch, recompute, emaRates: 0 });
      const { total } = (workload === 'train' ? description.training : description.inference)[precision];
      const { mebibytes, seconds } = await stepPeak({ ...options, config });
      log(
        `${name}, depth ${depth}: ${mebibytes.toFixed(0)} MiB, described ${(total / MEBIBYTE).toFixed(0)}; ${seconds.toFixed(2)} s of processor`,
      );
      return { measured: mebibytes, described: total / MEBIBYTE, seconds };
    };
    const [first, last] = [await at(depths[0]), await at(depths[1])];
    const perBlock = (of: 'measured' | 'described' | 'seconds') => (last[of] - first[of]) / (depths[1] - depths[0]);
    results.push(
      result(`${name}-depth-${depths[1]}`, 'MiB', 'less', last.measured, last.described),
      result(`${name}-per-block`, 'MiB', 'less', perBlock('measured'), perBlock('described')),
      result(`${name}-time-per-block`, 's', 'less', perBlock('seconds'), null),
    );
  }
  return results;
}
