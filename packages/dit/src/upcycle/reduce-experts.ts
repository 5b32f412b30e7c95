/**
 * Fewer experts, by telemetry: prune those that few tokens choose (Lu et al. 2024, arXiv 2402.14800), or merge each of them into
 * the kept one whose router vector is most like its own, averaged by load (M-SMoE, Li et al. 2023, arXiv 2310.08923).
 *
 * With renormalised weights, pruning changes nothing for tokens whose experts all stay. Without, the softmax over fewer experts
 * gives each more weight, so the experts' outputs are scaled by the share of the load that stays.
 */
import { ArgumentError } from '@dit-moe/tensor-ops';
import type { NamedArray } from '../checkpoints/convert.js';
import { type DitConfig, ditSizes } from '../config.js';
import { hasExperts } from '../moe/moe-config.js';
import { blockOf, takeColumns, takeSlices, type WeightStream } from './model-weights.js';

/** Which experts of a model to keep. */
export interface ReduceOptions {
  /** Experts to keep in each layer. */
  keep: number;
  /** Tokens per expert for each layer with experts, in order, as telemetry counts them. */
  load: readonly (readonly number[])[];
  /** What happens to the others (default `prune`). */
  method?: 'prune' | 'merge';
}

/** Which experts of a layer go where: `groups[i]` are the old numbers of the new expert i, the one that it replaces first. */
interface Reduction {
  groups: number[][];
  load: readonly number[];
}

/**
 * A model with fewer experts per layer.
 * @throws ArgumentError if there are no experts, or the load does not fit them
 */
export function reduceExperts(source: WeightStream, { keep, load, method = 'prune' }: ReduceOptions): WeightStream {
  const { moe } = source.config;
  if (moe === undefined) throw new ArgumentError('reduceExperts', 'a model with experts', 'a dense one');
  const { router = 'token', nullExpert = false, loadBias, experts, layerExperts } = moe;
  if ((router !== 'token' && router !== 'expert-choice') || nullExpert || loadBias !== undefined)
    throw new ArgumentError(
      'reduceExperts',
      'experts chosen by a gate alone, none of the null class',
      nullExpert ? 'nullExpert' : loadBias !== undefined ? 'loadBias' : router,
    );
  if (typeof experts === 'object' || layerExperts !== undefined)
    throw new ArgumentError('reduceExperts', 'equal experts', 'groups of different ones');
  if (!Number.isInteger(keep) || keep < moe.topK || keep > moe.numExperts)
    throw new ArgumentError('reduceExperts: keep', `${moe.topK} (experts per token) to ${moe.numExperts}`, keep);
  const layers = Array.from({ length: source.config.depth }, (_, layer) => layer).filter((layer) => hasExperts(source.config, layer));
  if (load.length !== layers.length || load.some((counts) => counts.length !== moe.numExperts || !counts.every((n) => n >= 0)))
    throw new ArgumentError(
      'reduceExperts: load',
      `counts of ${moe.numExperts} experts for ${layers.length} layers`,
      `${load.length} lists`,
    );
  const config: DitConfig = { ...source.config, moe: { ...moe, numExperts: keep } };
  ditSizes(config);
  const loads = new Map(layers.map((layer, i) => [layer, load[i]]));
  return { config, weights: () => reduced(source, config, loads, method) };
}

async function* reduced(
  source: WeightStream,
  config: DitConfig,
  loads: ReadonlyMap<number, readonly number[]>,
  method: 'prune' | 'merge',
): AsyncGenerator<[name: string, value: NamedArray]> {
  const [before, after] = [source.config.moe!.numExperts, config.moe!.numExperts];
  let reduction: Reduction | undefined;
  for await (const [name, value] of source.weights()) {
    const { block, part } = blockOf(name) ?? { block: -1, part: '' };
    if (part === 'moe.gate') {
      // The router comes first of a block's experts, and decides which are alike.
      reduction = group(value.data, loads.get(block)!, after, method);
      yield [
        name,
        {
          shape: [value.shape[0], after],
          data: takeColumns(
            value.data,
            before,
            reduction.groups.map(([first]) => first),
          ),
        },
      ];
    } else if (part.startsWith('moe.experts.')) {
      const factor =
        part.startsWith('moe.experts.down') && config.moe!.normalizeTopK !== true && method === 'prune' ? keptShare(reduction!) : 1;
      const size = value.data.length / before;
      const data = new Float32Array(after * size);
      for (const [i, members] of reduction!.groups.entries())
        data.set(average(value.data, size, members, reduction!.load, factor), i * size);
      yield [name, { shape: [after, ...value.shape.slice(1)], data }];
    } else yield [name, value];
  }
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

function keptShare({ groups, load }: Reduction): number {
  const total = sum(load);
  return total === 0 ? 1 : sum(groups.map(([first]) => load[first])) / total;
}

function group(gate: Float32Array, load: readonly number[], keep: number, method: 'prune' | 'merge'): Reduction {
  const experts = load.map((_, e) => e);
  const kept = [...experts]
    .sort((a, b) => load[b] - load[a] || a - b)
    .slice(0, keep)
    .sort((a, b) => a - b);
  const groups = kept.map((expert) => [expert]);
  if (method === 'merge') {
    const vectors = experts.map((e) => takeColumns(gate, load.length, [e]));
    for (const expert of experts.filter((e) => !kept.includes(e))) {
      const likeness = kept.map((other) => cosine(vectors[expert], vectors[other]));
      groups[likeness.indexOf(Math.max(...likeness))].push(expert);
    }
  }
  return { groups, load };
}

function cosine(a: Float32Array, b: Float32Array): number {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) [ab, aa, bb] = [ab + a[i] * b[i], aa + a[i] ** 2, bb + b[i] ** 2];
  return aa * bb === 0 ? 0 : ab / Math.sqrt(aa * bb);
}

/** Mean of some slices, weighted by load, times a factor. */
function average(data: Float32Array, size: number, members: readonly number[], load: readonly number[], factor: number): Float32Array {
  const total = sum(members.map((e) => load[e]));
  const weights = members.map((e) => (total === 0 ? 1 / members.length : load[e] / total));
  const out = takeSlices(data, size, members.slice(0, 1)).map((v) => v * weights[0] * factor);
  for (const [i, expert] of members.slice(1).entries())
    for (let j = 0; j < size; j++) out[j] += weights[i + 1] * factor * data[expert * size + j];
  return out;
}
