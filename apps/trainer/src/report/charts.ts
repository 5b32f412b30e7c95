/** Charts of a run as SVG text. */
import { drawChart } from '@dit-moe/kit/charts';
import * as Plot from '@observablehq/plot';
import type { MetricsLine } from '../training/metrics-log.js';
import { bucketName } from '../training/validation.js';

/** Points of a curve: as many as its pixels can show. */
export const MOST_POINTS = 460;

/** With room for the names of the axes in letters that are larger than usual, for narrow screens. */
const size = { width: 460, height: 252, marginTop: 26, marginBottom: 36, marginLeft: 60 };

/** A chart in the size of the report. */
export const draw = (options: Plot.PlotOptions, label: string): string => drawChart({ ...size, ...options }, label);

/** Every n-th item, so that at most `most` are left, the last one always. */
export function thin<T>(items: readonly T[], most: number): T[] {
  const stride = Math.ceil(items.length / most);
  return items.filter((_, i) => (items.length - 1 - i) % stride === 0);
}

/** Where an axis begins and, unless it is the largest value, ends: without them a small change looks like a large one. */
export type Range = readonly [from: number, to?: number];

/** The ends of an axis for these values. */
export const ends = ([from, to]: Range, values: readonly number[]): [number, number] => [
  from,
  to ?? Math.max(from + Number.EPSILON, ...values),
];

/** Where viridis is neither as dark as a dark page nor as light as a light one. */
const SEEN = [0.3, 0.75] as const;

/** Colours for names in their order. */
export function orderedColours<Name extends string | number>(domain: readonly Name[]): Plot.ScaleOptions & { domain: readonly Name[] } {
  const { apply } = Plot.scale({ color: { scheme: 'viridis', domain: [0, 1] } });
  const share = (i: number): number => i / Math.max(1, domain.length - 1);
  return { type: 'ordinal', domain, range: domain.map((_, i) => apply(SEEN[0] + (SEEN[1] - SEEN[0]) * share(i)) as string) };
}

/** Ratio of the largest to the least value from which an axis is logarithmic where it may be: with fewer decades it has hardly a number. */
const DECADES = 10;

/** A value over the steps; `smooth` adds an average over about a fiftieth of the run. */
export function curve(
  metrics: readonly MetricsLine[],
  label: string,
  value: (line: MetricsLine) => number | undefined,
  options: { log?: boolean; smooth?: boolean; range?: Range } = {},
): string {
  const points = metrics.flatMap((line) => {
    const y = value(line);
    return y === undefined || !Number.isFinite(y) ? [] : [{ step: line.step, y }];
  });
  if (points.length === 0) return '';
  const decay = Math.max(0, 1 - 50 / points.length);
  let average = points[0].y;
  const smoothed = points.map(({ step, y }) => {
    average = decay * average + (1 - decay) * y;
    return { step, y: average };
  });
  const [shown, line] = [thin(points, MOST_POINTS), thin(smoothed, MOST_POINTS)];
  const both = options.smooth === true && decay > 0;
  const values = points.map(({ y }) => y);
  const marks = [
    Plot.lineY(shown, { x: 'step', y: 'y', stroke: 'var(--accent)', strokeOpacity: both ? 0.35 : 1 }),
    ...(both ? [Plot.lineY(line, { x: 'step', y: 'y', stroke: 'var(--accent)', strokeWidth: 2 })] : []),
    ...(shown.length === 1 ? [Plot.dot(shown, { x: 'step', y: 'y', fill: 'var(--accent)' })] : []),
  ];
  const last = points.at(-1)!;
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const type = options.log === true && least > 0 && most / least >= DECADES ? 'log' : 'linear';
  const range = options.range ?? (options.log === true && type === 'linear' && least >= 0 ? ([0] as const) : undefined);
  return draw(
    {
      x: { label: 'step' },
      y: {
        ...{ label, type, grid: true },
        ...(range !== undefined && { domain: ends(range, values), nice: range[1] === undefined }),
        ...(type === 'log' ? { tickFormat: '~g' } : last.y >= 10_000 && { tickFormat: '~s' }),
      },
      marks,
    },
    `${label} over the steps, at last ${last.y.toPrecision(3)} in step ${last.step}`,
  );
}

/** The held-out loss over the steps, a line per part of the times. */
export function lossByTime(metrics: readonly MetricsLine[]): string {
  const lines = metrics.filter(({ validation }) => validation !== undefined);
  const points = thin(lines, MOST_POINTS).flatMap(({ step, validation }) =>
    validation!.byTime.map((loss, b) => ({ step, loss, times: bucketName(b, validation!.byTime.length) })),
  );
  const label = 'held-out loss by time';
  return draw(
    {
      x: { label: 'step' },
      y: {
        ...{ label, grid: true, nice: true },
        domain: ends(
          [0],
          points.map(({ loss }) => loss),
        ),
      },
      color: { ...orderedColours([...new Set(points.map(({ times }) => times))]), legend: true },
      marks: [Plot.lineY(points, { x: 'step', y: 'loss', z: 'times', stroke: 'times', marker: lines.length === 1 ? 'dot' : undefined })],
    },
    `${label} over the steps, a line per part of the times`,
  );
}
