/** Metrics on given features: Frechet distance, Inception Score, precision and recall, density and coverage, kernel distance. */
import fs from 'node:fs';
import path from 'node:path';
import {
  densityCoverage,
  type Features,
  features,
  frechetDistance,
  frechetDistanceOf,
  inceptionScoreBySize,
  inceptionScoreBySplits,
  kernelDistance,
  type Moments,
  matrix,
  momentsOf,
  polynomialMmd,
  precisionRecall,
  selectRows,
  squaredRadii,
} from '@dit-moe/metrics';
import type { HostTensor } from '@dit-moe/tensor-ops/io';
import { type Comparison, check, compare, json, tensors } from './golden.js';

export const area = 'metrics';

export async function* run(folder: string, root: string): AsyncGenerator<Comparison> {
  const parts = { fid: frechet, inception_score: inceptionScore, manifold, kid: kernel };
  for (const [name, compareAll] of Object.entries(parts)) {
    const part = path.join(folder, name);
    if (!fs.existsSync(part) || !(root.startsWith(part) || part.startsWith(root))) continue;
    for (const comparison of compareAll(part)) yield { ...comparison, name: `${name}/${comparison.name}` };
  }
}

const rowsOf = ({ shape, data }: HostTensor): Features => features(data as Float32Array, shape[1]);
/** Cases of a file with names such as `CASE.a`. */
const cases = (names: Iterable<string>): string[] => [...new Set([...names].map((name) => name.split('.')[0]))].sort();
/** One number, relative. */
const one = (name: string, actual: number, expected: number, rtol: number, atol = 0): Comparison =>
  compare(name, [actual], [expected], { rtol, atol });

function* frechet(folder: string): Generator<Comparison> {
  const expected = json(path.join(folder, 'expected.json'));
  const featureFile = path.join(folder, 'features.safetensors');
  const data = fs.existsSync(featureFile) ? tensors(featureFile) : new Map<string, HostTensor>();
  const statistics = tensors(path.join(folder, 'stats.safetensors'));
  const given = (name: string): Pick<Moments, 'mean' | 'covariance'> => {
    const [mean, sigma] = [statistics.get(`${name}.mu`)!, statistics.get(`${name}.sigma`)!];
    return { mean: mean.data as Float64Array, covariance: matrix(sigma.shape[0], sigma.shape[1], sigma.data as Float64Array) };
  };
  for (const name of cases(statistics.keys())) {
    const want = expected[name];
    // Covariances that are singular hold their square roots to half of the digits.
    const deficient = want.rank_a !== undefined && want.rank_a < want.d;
    const rtol = deficient ? 1e-7 : (want.cond_a ?? 1) > 1e6 ? 1e-6 : 1e-10;
    const [a, b] = [given(`${name}.a`), given(`${name}.b`)];
    const found = frechetDistance(a, b);
    yield one(`${name}/fid from statistics`, found.distance, want.fid, rtol);
    yield one(`${name}/fid reversed`, frechetDistance(b, a).distance, want.fid, rtol);
    if (!data.has(`${name}.a`)) continue;
    const sets = [rowsOf(data.get(`${name}.a`)!), rowsOf(data.get(`${name}.b`)!)] as const;
    for (const [side, set, statistic] of [
      ['a', sets[0], a],
      ['b', sets[1], b],
    ] as const) {
      const moments = momentsOf(set);
      for (const [part, actual, wanted] of [
        ['mu', moments.mean, statistic.mean],
        ['sigma', moments.covariance.data, statistic.covariance.data],
      ] as const) {
        const largest = wanted.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
        yield compare(`${name}.${side}.${part}`, actual, wanted, { atol: 1e-12 * largest, rtol: 0 });
      }
    }
    // With fewer samples than dimensions the features are used, which loses nothing.
    const direct = frechetDistanceOf(...sets);
    yield one(`${name}/fid from features`, direct.distance, want.fid, direct.method === 'features' ? 1e-10 : rtol);
    for (const [field, actual] of [
      ['mean_term', direct.meanTerm],
      ['trace_a', direct.traceA],
      ['trace_b', direct.traceB],
      ['trace_sqrt', direct.traceSqrt],
    ] as const)
      yield one(`${name}/${field}`, actual, want[field], Math.max(rtol, 1e-10), 1e-12);
  }
}

function* inceptionScore(folder: string): Generator<Comparison> {
  const expected = json(path.join(folder, 'expected.json'));
  const data = tensors(path.join(folder, 'logits.safetensors'));
  const tolerance = 1e-10;
  for (const [name, tensor] of data) {
    if (!name.startsWith('logits_') || expected[name] === undefined) continue;
    const logits = rowsOf(tensor);
    for (const [form, want] of Object.entries(expected[name]) as [string, { mean: number; std: number; per_split: number[] }][]) {
      const [, size] = /^adm_split_size_(\d+)$/.exec(form) ?? [];
      const [, splits, order] = /^torch_fidelity_(\d+)_splits?_(shuffled|in_order)$/.exec(form) ?? [];
      if (size !== undefined) {
        const found = inceptionScoreBySize(logits, Number(size));
        yield one(`${name}/${form}/mean`, found.mean, want.mean, tolerance);
        yield compare(`${name}/${form}/per_split`, found.perSplit, want.per_split, { rtol: tolerance });
      } else if (splits !== undefined) {
        const rows = data.get('torch_fidelity_permutation_seed2020')!.data as Int32Array;
        const found = inceptionScoreBySplits(order === 'shuffled' ? selectRows(logits, rows) : logits, Number(splits));
        if (typeof want === 'number') yield one(`${name}/${form}`, found.mean, want, tolerance);
        else {
          yield one(`${name}/${form}/mean`, found.mean, want.mean, tolerance);
          yield one(`${name}/${form}/std`, found.std, want.std, tolerance, 1e-12);
        }
      }
    }
  }
  const { all_equal_logits: equal, one_hot_7_classes_balanced: certain, from_pool_features: pooled } = expected;
  if (equal !== undefined)
    yield one(
      'all_equal_logits',
      inceptionScoreBySplits(features(new Float64Array(equal.n * equal.classes), equal.classes), 1).mean,
      equal.value,
      tolerance,
    );
  if (certain !== undefined) {
    const logits = Float64Array.from({ length: 70 * 7 }, (_, i) => (i % 7 === Math.floor(i / 7) % 7 ? 40 : -40));
    yield one('one_hot_7_classes_balanced', inceptionScoreBySplits(features(logits, 7), 1).mean, certain.value, tolerance);
  }
  if (pooled !== undefined) {
    const [pool, weight, bias] = [
      rowsOf(data.get('pool_features')!),
      rowsOf(data.get('fc_weight')!),
      data.get('fc_bias')!.data as Float32Array,
    ];
    const logits = (withBias: boolean) => {
      const out = new Float64Array(pool.count * weight.count);
      for (let i = 0; i < pool.count; i++)
        for (let c = 0; c < weight.count; c++) {
          let sum = withBias ? bias[c] : 0;
          for (let j = 0; j < pool.dimension; j++) sum += pool.data[i * pool.dimension + j] * weight.data[c * pool.dimension + j];
          out[i * weight.count + c] = sum;
        }
      return features(out, weight.count);
    };
    for (const [form, want] of Object.entries(pooled) as [string, number][]) {
      const [, no, size] = /^(no|with)_bias_adm_split_size_(\d+)$/.exec(form) ?? [];
      if (size !== undefined)
        yield one(`from_pool_features/${form}`, inceptionScoreBySize(logits(no === 'with'), Number(size)).mean, want, 1e-7);
    }
  }
}

function* manifold(folder: string): Generator<Comparison> {
  const expected = json(path.join(folder, 'expected.json'));
  const data = tensors(path.join(folder, 'features.safetensors'));
  for (const name of cases(data.keys())) {
    const want = expected[name];
    const [reference, sample] = [rowsOf(data.get(`${name}.reference`)!), rowsOf(data.get(`${name}.sample`)!)];
    const k = want.k ?? 3;
    for (const mode of ['exact_float64', 'float16_first'] as const) {
      if (want[mode] === undefined) continue;
      const options = { precision: mode === 'exact_float64' ? 'exact' : 'float16-first', tile: want.block } as const;
      const found = precisionRecall(reference, sample, k, options);
      // Sums in another order may move a float16 by one step, and with it single decisions.
      const exact = mode === 'exact_float64';
      yield one(`${name}/${mode}/precision`, found.precision, want[mode].precision, 0, exact ? 0 : 0.01);
      yield one(`${name}/${mode}/recall`, found.recall, want[mode].recall, 0, exact ? 0 : 0.01);
      const original = want.adm_evaluator_tensorflow_cpu_float16_first;
      if (!exact && original !== undefined) {
        yield one(`${name}/original evaluator/precision`, found.precision, original.precision, 0, 0.01);
        yield one(`${name}/original evaluator/recall`, found.recall, original.recall, 0, 0.01);
      }
      if (exact) {
        const inside = (which: string): Uint8Array => data.get(`${name}.${mode}.${which}`)!.data as Uint8Array;
        yield compare(`${name}/sample_inside_reference`, found.sampleInside, inside('sample_inside_reference'), { rtol: 0 });
        yield compare(`${name}/reference_inside_sample`, found.referenceInside, inside('reference_inside_sample'), { rtol: 0 });
      }
      for (const [side, set] of [
        ['reference', reference],
        ['sample', sample],
      ] as const) {
        const radii = data.get(`${name}.${mode}.radii2_${side}`)!.data as Float32Array;
        // Two float16 steps: at least 2^-10 of the value, more where large norms cancel.
        const norms = Math.max(...Array.from({ length: set.count }, (_, i) => rowNorm(set, i)));
        yield compare(
          `${name}/${mode}/radii2_${side}`,
          squaredRadii(set, k, options),
          radii,
          exact ? { rtol: 1e-6 } : { rtol: 0, atol: norms * 2 ** -9 },
        );
      }
    }
    for (const [form, prdc] of Object.entries(want) as [string, Record<string, number>][]) {
      const [, neighbour] = /^prdc_k(\d+)$/.exec(form) ?? [];
      if (neighbour === undefined) continue;
      const found = densityCoverage(reference, sample, Number(neighbour));
      for (const field of ['precision', 'recall', 'coverage'] as const)
        yield one(`${name}/${form}/${field}`, found[field], prdc[field], 1e-12);
      yield one(`${name}/${form}/density`, found.density, prdc['density'], 1e-9);
      const realism = data.get(`${name}.${form}.realism`);
      if (realism !== undefined) yield compare(`${name}/${form}/realism`, found.realism, realism.data as Float64Array, { rtol: 1e-9 });
    }
    if (want.adm !== undefined) {
      const found = precisionRecall(reference, sample, k);
      yield one(`${name}/adm/precision`, found.precision, want.adm.precision, 0);
      yield one(`${name}/adm/recall`, found.recall, want.adm.recall, 0);
    }
  }
}

function rowNorm({ data, dimension }: Features, row: number): number {
  let sum = 0;
  for (let i = row * dimension; i < (row + 1) * dimension; i++) sum += data[i] ** 2;
  return sum;
}

function* kernel(folder: string): Generator<Comparison> {
  const expected = json(path.join(folder, 'expected.json'));
  const data = tensors(path.join(folder, 'features.safetensors'));
  const [a, b] = [rowsOf(data.get('a')!), rowsOf(data.get('b')!)];
  const indices = (name: string) => data.get(name)!;
  const [ia, ib] = [indices('subset_indices_a'), indices('subset_indices_b')];
  const [count, size] = ia.shape as [number, number];
  const row = (tensor: HostTensor, i: number) => (tensor.data as Int32Array).subarray(i * size, (i + 1) * size);
  const found = kernelDistance(
    a,
    b,
    Array.from({ length: count }, (_, i) => ({ a: row(ia, i), b: row(ib, i) })),
  );
  yield one('mean', found.mean, expected.mean, 0, 1e-12);
  yield one('std_population', found.std, expected.std_population, 0, 1e-12);
  yield compare('per_subset', found.perSubset, expected.per_subset, { rtol: 0, atol: 1e-12 });
  yield one('float32 of torch-fidelity', found.mean, expected.torch_fidelity_float32.mean, 0, 2e-6);
  const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
  const { single_subset_all_rows: all, same_distribution: same } = expected;
  if (all !== undefined)
    yield one(
      'single_subset_all_rows',
      polynomialMmd(selectRows(a, range(0, all.rows)), selectRows(b, range(0, all.rows))),
      all.value,
      0,
      1e-12,
    );
  if (same !== undefined) {
    const bounds = (text: string) => (/\[(\d+):(\d+)\]/.exec(text) ?? []).slice(1).map(Number) as [number, number];
    const value = polynomialMmd(selectRows(a, range(...bounds(same.rows_a))), selectRows(a, range(...bounds(same.rows_b))));
    yield one('same_distribution', value, same.value, 0, 1e-12);
  }
  yield check('subsets', found.perSubset.length === expected.subsets);
}
