/** What a run counts of its routers, and what it writes down of it. */
import { type DitConfig, ditSizes, expertKinds, expertLayers, nullLabelOf } from '@dit-moe/dit';
import { type LayerSnapshot, loadByKind, type RoutingSnapshot, RoutingTelemetry } from '@dit-moe/moe/telemetry';
import { timeRange } from '../config/resolve.js';
import type { TrainConfig } from '../config/schema.js';

/** The file in a run folder with all that was counted for the last line of metrics before the report. */
export const ROUTING_FILE = 'routing.json';

/** Its content. */
export type RoutingFile = RoutingSnapshot & { step: number };

/** Measures of one layer over the steps of a line of metrics: a few numbers, so that every line can have them. */
export type LayerRouting = Omit<LayerSnapshot, 'coActivation' | 'byTimestep' | 'byClass' | 'byPosition'> & {
  /** Share of the assignments that experts of each kind got; only of a layer with several kinds. */
  kinds?: Record<string, number>;
};

/** The measures that are one number per layer, in the order in which they are shown. */
export const layerMeasures = {
  coefficientOfVariation: 'variation of the load (standard deviation / mean)',
  maxOverMean: 'largest load / mean',
  loadEntropy: 'entropy of the load (1 is even)',
  routerEntropy: 'entropy of the router (0 is certain)',
  deadExperts: 'experts that no token chose',
  dropRate: 'share of assignments without room',
  nonFiniteTokens: 'tokens that are not finite',
} as const satisfies Partial<Record<keyof LayerRouting, string>>;
export type LayerMeasure = keyof typeof layerMeasures;

/** A measure as a number: of the experts that no token chose, how many. */
export const measureOf = (layer: LayerRouting, measure: LayerMeasure): number =>
  measure === 'deadExperts' ? layer.deadExperts.length : layer[measure];

/** Counters of a model's layers with experts; none without such layers. */
export function openTelemetry(model: DitConfig, objective: TrainConfig['objective']): RoutingTelemetry | undefined {
  const layers = expertLayers(model).length;
  if (model.moe === undefined || layers === 0) return undefined;
  const nullLabel = nullLabelOf(model);
  return new RoutingTelemetry({
    layers,
    numExperts: model.moe.numExperts,
    tokens: ditSizes(model).tokens,
    timestepRange: [0, timeRange(objective)],
    // Where in the image an expert is chosen is a question for samples, not for every line of metrics.
    positions: 1,
    ...(nullLabel !== undefined && { nullLabel }),
  });
}

/** The part of a snapshot that goes into a line of metrics. */
export function layerRouting({ layers }: RoutingSnapshot, model: DitConfig): LayerRouting[] {
  const kinds = expertKinds(model);
  return layers.map(({ coActivation: _c, byTimestep: _t, byClass: _l, byPosition: _p, ...measures }, layer) => ({
    ...measures,
    ...(new Set(kinds[layer]).size > 1 && { kinds: loadByKind(measures.load, kinds[layer]) }),
  }));
}
