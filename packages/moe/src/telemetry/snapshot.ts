/** Telemetry on the host: plain numbers. */
import { evenness, type RoutingTables, zeroTable } from './tables.js';
import type { RoutingTelemetry } from './telemetry.js';

/** What one layer did since the last reset. */
export interface LayerSnapshot extends RoutingTables {
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
  const layer = (l: number): LayerSnapshot => {
    const [byTimestep, byClass, byPosition] = [
      zeroTable(numExperts, timestepBuckets),
      zeroTable(numExperts, 2),
      zeroTable(numExperts, positions),
    ];
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
    const finite = tokens - nonFiniteTokens;
    return {
      load,
      coefficientOfVariation: mean === 0 ? 0 : Math.sqrt(variance) / mean,
      maxOverMean: mean === 0 ? 0 : Math.max(...load) / mean,
      loadEntropy: total === 0 ? 0 : evenness(load),
      routerEntropy: finite === 0 ? 0 : numExperts === 1 ? 1 : entropy / finite / Math.log(numExperts),
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
