/** Charts of what the routers do: over the steps, and in the last line of metrics. */
import { colourScale, expertName, shareColours, touching } from '@dit-moe/kit/charts';
import { columnShares, type RoutingSnapshot } from '@dit-moe/moe/telemetry';
import * as Plot from '@observablehq/plot';
import type { MetricsLine } from '../training/metrics-log.js';
import { type LayerMeasure, type LayerRouting, layerMeasures, measureOf } from '../training/routing.js';
import { draw, ends, MOST_POINTS, orderedColours, type Range, thin } from './charts.js';

/** Columns of the load map. */
const MOST_COLUMNS = 48;
const SCHEME = 'blues';
/** Room for the names of experts. */
const LABELS = 80;

/** What a measure can be: from 0, or between ends of its own. */
const ranges: Partial<Record<LayerMeasure, Range>> = { maxOverMean: [1], loadEntropy: [0, 1], routerEntropy: [0, 1], dropRate: [0, 1] };

/** A measure over the steps, a line per layer; nothing if it is 0 throughout. */
export const measureCurves = (metrics: readonly MetricsLine[], measure: LayerMeasure): string =>
  layerCurves(metrics, (layer) => measureOf(layer, measure), layerMeasures[measure], ranges[measure] ?? [0]);

/** For each kind of expert its share of the assignments over the steps, a line per layer that has several kinds. */
export function kindCurves(metrics: readonly MetricsLine[]): string[] {
  const kinds = new Set(metrics.at(-1)?.routing.flatMap((layer) => Object.keys(layer.kinds ?? {})));
  return [...kinds].map((kind) => layerCurves(metrics, (layer) => layer.kinds?.[kind], `share of the ${kind} experts`, [0, 1]));
}

function layerCurves(
  metrics: readonly MetricsLine[],
  measured: (layer: LayerRouting) => number | undefined,
  label: string,
  range: Range,
): string {
  const points = thin(metrics, MOST_POINTS).flatMap(({ step, routing }) =>
    routing.flatMap((layer, index) => {
      const value = measured(layer);
      return value === undefined ? [] : [{ step, layer: index, value }];
    }),
  );
  if (points.every(({ value }) => value === 0)) return '';
  return draw(
    {
      x: { label: 'step' },
      y: {
        label,
        grid: true,
        domain: ends(
          range,
          points.map(({ value }) => value),
        ),
        nice: range[1] === undefined,
      },
      color: orderedColours(layersOf(metrics)),
      marks: [Plot.lineY(points, { x: 'step', y: 'value', z: 'layer', stroke: 'layer' })],
    },
    `${label} over the steps, a line per layer`,
  );
}

/** Layers with experts. */
const layersOf = (metrics: readonly MetricsLine[]): number[] => [
  ...Array(Math.max(0, ...metrics.map(({ routing }) => routing.length))).keys(),
];

/** The one legend of the curves: the colour of each layer. */
export function layerLegend(metrics: readonly MetricsLine[]): string {
  const color = orderedColours(layersOf(metrics));
  if (color.domain.length === 0) return '';
  const { apply } = Plot.scale({ color });
  const swatch = (layer: number) =>
    `<span><svg width="15" height="15" fill="${apply(layer)}"><rect width="100%" height="100%"/></svg> layer ${layer}</span>`;
  return `<p class="legend">${color.domain.map(swatch).join('\n')}</p>`;
}

/** A map with the meaning of its colours. On a narrow screen it is moved, not made too small to be read. */
const wide = (map: string, colours: Plot.ScaleOptions): string => `<div class="wide">${map}</div>\n${colourScale(colours)}`;

/** What the experts of each layer are, see `expertKinds`. */
type Kinds = readonly (readonly string[])[];

/** Share of each expert over the steps, a row of bands per layer. */
export function loadMap(metrics: readonly MetricsLine[], kinds: Kinds): string {
  const lines = thin(
    metrics.filter(({ routing }) => routing.length > 0),
    MOST_COLUMNS,
  );
  const [layers, experts] = [lines[0]?.routing.length ?? 0, lines[0]?.routing[0]?.load.length ?? 0];
  if (layers === 0) return '';
  const cells = lines.flatMap(({ step, routing }) =>
    routing.flatMap(({ load }, layer) => {
      const total = load.reduce((a, b) => a + b, 0) || 1;
      return load.map((n, expert) => ({ step, layer, expert, share: n / total }));
    }),
  );
  const colours = shareColours(1 / experts, SCHEME, "share of the layer's tokens");
  const ticks = thin(
    lines.map(({ step }) => step),
    6,
  );
  const map = draw(
    {
      width: 940,
      height: 60 + layers * Math.max(24, Math.min(112, 14 * experts)),
      marginLeft: LABELS,
      marginRight: 60,
      x: { label: 'step', type: 'band', ticks, padding: 0 },
      y: { label: 'expert', type: 'band', padding: 0, tickFormat: expertName(kinds), ticks: experts <= 8 ? undefined : [] },
      fy: { label: 'layer' },
      color: colours,
      marks: [Plot.cell(cells, { x: 'step', y: 'expert', fy: 'layer', fill: 'share', ...touching })],
    },
    `share of the tokens of each of ${experts} experts in ${layers} layers over the steps`,
  );
  return wide(map, colours);
}

/** One small map per layer, side by side. */
function perLayer(
  cells: readonly { layer: number; row: number; column: number; share: number }[],
  options: { layers: number; rows: number; columns: number; even: number; xLabel: string; label: string; kinds: Kinds },
): string {
  const { layers, rows, columns, even, xLabel, label, kinds } = options;
  const perRow = Math.min(4, layers);
  const place = { fx: (d: { layer: number }) => d.layer % perRow, fy: (d: { layer: number }) => Math.floor(d.layer / perRow) };
  const ticks = (count: number) => (count <= 16 ? undefined : []);
  const colours = shareColours(even, SCHEME, label);
  const maps = draw(
    {
      width: 100 + perRow * 220,
      height: 70 + Math.ceil(layers / perRow) * (Math.max(100, Math.min(220, 22 * rows)) + 20),
      marginTop: 36,
      marginLeft: LABELS,
      x: { label: xLabel, type: 'band', padding: 0, ticks: ticks(columns) },
      y: { label: 'expert', type: 'band', padding: 0, tickFormat: expertName(kinds), ticks: ticks(rows) },
      fx: { axis: null, padding: 0.08 },
      fy: { axis: null, padding: 0.14 },
      color: colours,
      marks: [
        Plot.cell(cells, { x: 'column', y: 'row', ...place, fill: 'share', ...touching }),
        Plot.text(
          Array.from({ length: layers }, (_, layer) => ({ layer })),
          { ...place, text: ({ layer }: { layer: number }) => `layer ${layer}`, frameAnchor: 'top', dy: -10 },
        ),
      ],
    },
    `${label}, for each of ${layers} layers`,
  );
  return wide(maps, colours);
}

/** Which expert is chosen at which time: share of the assignments of each part of the timesteps. */
export function timestepMap(snapshot: RoutingSnapshot, kinds: Kinds): string {
  const cells = snapshot.layers.flatMap(({ byTimestep }, layer) =>
    columnShares(byTimestep).flatMap((shares, row) => shares.map((share, column) => ({ layer, row, column, share }))),
  );
  const experts = snapshot.layers[0].load.length;
  return perLayer(cells, {
    ...{ layers: snapshot.layers.length, rows: experts, columns: snapshot.layers[0].byTimestep[0].length, even: 1 / experts },
    ...{ xLabel: 'tenth of the timesteps', label: 'share of the assignments at a time', kinds },
  });
}

/** Which experts are chosen together: of the tokens of the row's expert, the share that also chose the column's; nothing for one expert per token. */
export function coActivationMap(snapshot: RoutingSnapshot, kinds: Kinds): string {
  const experts = snapshot.layers[0].load.length;
  const cells = snapshot.layers.flatMap(({ coActivation, load }, layer) =>
    coActivation.flatMap((row, expert) =>
      row.map((n, other) => ({ layer, row: expert, column: other, share: expert === other ? Number.NaN : n / (load[expert] || 1) })),
    ),
  );
  const together = cells.filter(({ share }) => share > 0);
  if (together.length === 0) return '';
  // Of a token's other experts, an even share goes to each.
  const even = cells.reduce((sum, { share }) => sum + (share || 0), 0) / (snapshot.layers.length * experts * (experts - 1));
  return perLayer(cells, {
    ...{ layers: snapshot.layers.length, rows: experts, columns: experts, even },
    ...{ xLabel: 'other expert', label: 'share of the tokens that also chose the other expert', kinds },
  });
}
