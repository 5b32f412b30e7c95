/** Telemetry on the host: plain numbers, lines of JSON, arrays to plot. */
import type { RoutingTelemetry } from './telemetry.js';

/** What one layer did since the last reset. */
export interface LayerSnapshot {
  /** Tokens that chose each expert, `[E]`. */
  load: number[];
  /** Standard deviation of the load over its mean; 0 at perfect balance. */
  coefficientOfVariation: number;
  /** Largest load over the mean; 1 at perfect balance, and the factor by which padded dispatch is slower. */
  maxOverMean: number;
  /** Entropy of the load over log E, in [0, 1]; 1 at perfect balance. */
  loadEntropy: number;
  /** Mean entropy of a token's softmax over log E, in [0, 1]; 0 for a router that is certain. */
  routerEntropy: number;
  /** Experts that no token chose. */
  deadExperts: number[];
  /** Share of the assignments for which there was no room (static capacity only). */
  dropRate: number;
  /** Tokens whose scores were not finite; they are in no other number. */
  nonFiniteTokens: number;
  /** How many tokens chose both experts, `[E][E]`; the diagonal is the load. */
  coActivation: number[][];
  /** Load by timestep bucket, `[E][buckets]`. */
  byTimestep: number[][];
  /** Load by label, `[E][2]`: samples with a class, samples with the null label. */
  byClass: number[][];
  /** Load by token position, `[E][positions]`. */
  byPosition: number[][];
}

/** What all layers did since the last reset. */
export interface RoutingSnapshot {
  /** Updates that were counted. */
  steps: number;
  /** Tokens that each layer saw. */
  tokens: number;
  layers: LayerSnapshot[];
}

/** Numbers of the device, in the layouts of `RoutingTelemetry.parameters`. */
interface Counters {
  counts: ArrayLike<number>;
  coActivation: ArrayLike<number>;
  sums: ArrayLike<number>;
  steps: number;
}

/** Derives the statistics. */
export function snapshotOf(
  config: Pick<RoutingTelemetry['config'], 'layers' | 'numExperts' | 'timestepBuckets' | 'positions'>,
  { counts, coActivation, sums, steps }: Counters,
): RoutingSnapshot {
  const { layers, numExperts, timestepBuckets, positions } = config;
  const table = (rows: number, columns: number) => Array.from({ length: rows }, () => new Array<number>(columns).fill(0));
  const layer = (l: number): LayerSnapshot => {
    const [byTimestep, byClass, byPosition] = [table(numExperts, timestepBuckets), table(numExperts, 2), table(numExperts, positions)];
    let at = l * numExperts * timestepBuckets * 2 * positions;
    for (let e = 0; e < numExperts; e++)
      for (let bucket = 0; bucket < timestepBuckets; bucket++)
        for (let isNull = 0; isNull < 2; isNull++)
          for (let position = 0; position < positions; position++) {
            const count = counts[at++];
            byTimestep[e][bucket] += count;
            byClass[e][isNull] += count;
            byPosition[e][position] += count;
          }
    const load = byClass.map(([conditional, unconditional]) => conditional + unconditional);
    const [tokens, assignments, dropped, nonFiniteTokens, entropy] = Array.from({ length: 5 }, (_, i) => sums[5 * l + i]);
    const total = load.reduce((a, b) => a + b, 0);
    const mean = total / numExperts;
    const variance = load.reduce((sum, n) => sum + (n - mean) ** 2, 0) / numExperts;
    const evenness = (nats: number) => (numExperts === 1 ? 1 : nats / Math.log(numExperts));
    const finite = tokens - nonFiniteTokens;
    return {
      load,
      coefficientOfVariation: mean === 0 ? 0 : Math.sqrt(variance) / mean,
      maxOverMean: mean === 0 ? 0 : Math.max(...load) / mean,
      loadEntropy: total === 0 ? 0 : evenness(-load.reduce((sum, n) => sum + (n === 0 ? 0 : (n / total) * Math.log(n / total)), 0)),
      routerEntropy: finite === 0 ? 0 : evenness(entropy / finite),
      deadExperts: load.flatMap((n, e) => (n === 0 ? [e] : [])),
      dropRate: assignments === 0 ? 0 : dropped / assignments,
      nonFiniteTokens: nonFiniteTokens,
      coActivation: Array.from({ length: numExperts }, (_, e) =>
        Array.from({ length: numExperts }, (_, other) => coActivation[(l * numExperts + e) * numExperts + other]),
      ),
      byTimestep,
      byClass,
      byPosition,
    };
  };
  return { steps, tokens: sums[0] ?? 0, layers: Array.from({ length: layers }, (_, l) => layer(l)) };
}

/**
 * One line of JSON for each layer, without the token positions (there are many).
 *
 * @param extra written first in every line, for example `{ step }`
 */
export function snapshotLines(snapshot: RoutingSnapshot, extra: Readonly<Record<string, unknown>> = {}): string {
  return snapshot.layers
    .map(({ byPosition, ...rest }, layer) => `${JSON.stringify({ ...extra, layer, tokens: snapshot.tokens, ...rest })}\n`)
    .join('');
}

/** A picture's worth of numbers: one row for each layer and expert. */
export interface Heatmap {
  rows: { layer: number; expert: number }[];
  /** Share of the assignments of a column (within a layer) that went to the expert, `[layers * E][columns]`; 0 in an empty column. */
  values: number[][];
}

/** Which expert is chosen where: by timestep, label or token position. */
export function heatmap(snapshot: RoutingSnapshot, by: 'timestep' | 'class' | 'position'): Heatmap {
  const key = ({ timestep: 'byTimestep', class: 'byClass', position: 'byPosition' } as const)[by];
  const rows = snapshot.layers.flatMap(({ load }, layer) => load.map((_, expert) => ({ layer, expert })));
  const values = snapshot.layers.flatMap((layer) => {
    const counts = layer[key];
    const totals = counts[0].map((_, column) => counts.reduce((sum, row) => sum + row[column], 0));
    return counts.map((row) => row.map((n, column) => (totals[column] === 0 ? 0 : n / totals[column])));
  });
  return { rows, values };
}
