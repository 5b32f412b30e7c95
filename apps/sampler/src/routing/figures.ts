/**
 * How often each expert is chosen: by class, by place in the image, by time, and together with which others, per layer, as SVG. This is
 * the analysis of DiT-MoE (Fei et al. 2024, section 3.4), whose experts specialise by place and time, hardly by class.
 */
import { colourScale, drawChart, expertName, shareColours } from '@dit-moe/kit/charts';
import { columnShares, evenness, type HostRoutingTables, meanPerToken, specialisation } from '@dit-moe/moe/telemetry';
import * as Plot from '@observablehq/plot';

/** Whether tokens have different numbers of experts. */
const varies = ({ layers }: RoutingCounts): boolean =>
  new Set(layers.flatMap(({ perToken }) => perToken.flatMap((n, number) => (n > 0 ? [number] : [])))).size > 1;

/** What was counted, and of what. */
export interface RoutingCounts {
  /** Patches per column and row. */
  grid: readonly [number, number];
  /** Names of the columns of `byClass`. */
  classNames: readonly string[];
  /** Times of the evaluations, falling from 1 (noise). */
  times: readonly number[];
  /** Evaluations times images. */
  evaluations: number;
  layers: readonly HostRoutingTables[];
  /** What the experts of each layer are, see `expertKinds`. */
  kinds: readonly (readonly string[])[];
}

export interface Figure {
  /** Name of its files. */
  name: string;
  title: string;
  /** What is to be seen, in one or two sentences. */
  caption: string;
  svg: string;
}

/** Classes shown at most; of more, those whose use of the experts differs most from the average. */
const MAX_CLASSES = 40;
/** Times shown at most; more are joined in groups. */
const MAX_TIMES = 50;
const SCHEME = 'YlGnBu';

interface Cell {
  layer: number;
  expert: number;
  column: string | number;
  share: number;
}

/** Prototypes of a layer with experts, `[C, E]`, that tokens are compared with. */
export interface Prototypes {
  shape: readonly number[];
  data: Float32Array;
}

/**
 * All figures.
 * @param prototypes of the layers with experts, in order; none of other routers
 */
export function drawFigures(counts: RoutingCounts, prototypes: readonly Prototypes[] = []): Figure[] {
  return [
    byLayer(counts),
    ...(varies(counts) ? [perToken(counts)] : []),
    byClass(counts),
    byPosition(counts),
    byTime(counts),
    coActivation(counts),
    ...(prototypes.length > 0 ? [likeness(prototypes)] : []),
  ];
}

const numExperts = (counts: RoutingCounts): number => counts.layers[0].load.length;
const percent = (share: number): string => `${Number((100 * share).toFixed(1))} %`;
/** The colours of every map of shares, so that one legend does for all. */
const colours = (counts: RoutingCounts): Plot.ScaleOptions => shareColours(1 / numExperts(counts), SCHEME, 'share');

/** A figure that looks the same wherever its file is opened. */
const style = { background: 'white', color: '#222', fontFamily: 'sans-serif' };
const draw = (label: string, options: Plot.PlotOptions): string => drawChart({ style, ...options }, label);

/** The legend of the maps of shares. */
export const legend = (counts: RoutingCounts): string => colourScale(colours(counts), style);

/** Letters of a name on an axis at most. */
const LONGEST_NAME = 32;
const shortened = (name: string): string => (name.length > LONGEST_NAME ? `${name.slice(0, LONGEST_NAME - 1)}\u2026` : name);

/** Heat maps of experts over columns, one below the other for each layer. */
function perLayer(
  title: string,
  counts: RoutingCounts,
  cells: readonly Cell[],
  columns: readonly (string | number)[],
  label: string,
  rotate = false,
): string {
  const experts = numExperts(counts);
  const names = columns.map((column) => shortened(String(column)));
  // Room for the longest name, which slopes.
  const marginBottom = rotate ? 30 + 4.3 * Math.max(...names.map(({ length }) => length)) : 40;
  return draw(title, {
    width: Math.max(420, 110 + 18 * columns.length),
    height: 40 + marginBottom + counts.layers.length * (14 * experts + 14),
    ...{ marginLeft: 90, marginRight: 70, marginBottom },
    x: {
      ...{
        label,
        type: 'band',
        domain: columns as (string | number)[],
        tickFormat: (column: string | number) => shortened(String(column)),
      },
      ...(rotate && { tickRotate: -60 }),
    },
    y: { label: 'expert', type: 'band', tickFormat: expertName(counts.kinds) },
    fy: { label: 'layer', padding: 0.08 },
    color: colours(counts),
    marks: [Plot.cell(cells, { x: 'column', y: 'expert', fy: 'layer', fill: 'share', inset: 0.3 })],
  });
}

function byLayer(counts: RoutingCounts): Figure {
  const experts = numExperts(counts);
  const cells = counts.layers.flatMap(({ load }, layer) =>
    columnShares(load.map((n) => [n])).map(([share], expert) => ({ layer, expert, share: share })),
  );
  return {
    name: 'layer',
    title: 'Load by layer',
    caption: `Share of a layer's assignments that each expert gets; ${percent(1 / experts)} is even. Evenness (entropy of the load, 1 is even) by layer: ${counts.layers.map(({ load }) => evenness(load).toFixed(2)).join(', ')}.`,
    svg: draw('Load by layer', {
      width: Math.max(420, 110 + 62 * experts),
      height: 80 + 26 * counts.layers.length,
      ...{ marginLeft: 60, marginBottom: 40 },
      x: { label: 'expert', type: 'band', tickFormat: expertName(counts.kinds) },
      y: { label: 'layer', type: 'band' },
      color: colours(counts),
      marks: [
        Plot.cell(cells, { x: 'expert', y: 'layer', fill: 'share', inset: 0.5 }),
        Plot.text(cells, {
          x: 'expert',
          y: 'layer',
          text: (d: { share: number }) => percent(d.share),
          fill: (d: { share: number }) => (d.share * experts > 1.2 ? 'white' : '#222'),
        }),
      ],
    }),
  };
}

function perToken(counts: RoutingCounts): Figure {
  const [rows, columns] = counts.grid;
  const images = counts.evaluations;
  const cells = counts.layers.flatMap(({ byPosition: table }, layer) =>
    table[0].map((_, token) => ({
      layer,
      row: Math.floor(token / columns),
      column: token % columns,
      mean: table.reduce((sum, row) => sum + row[token], 0) / images,
    })),
  );
  const spread = counts.layers.map((layer) => {
    const total = layer.perToken.reduce((a, b) => a + b, 0);
    const shares = layer.perToken.flatMap((n, number) => (n > 0 ? [`${number}: ${percent(n / total)}`] : []));
    return `${meanPerToken(layer).toFixed(2)} (${shares.join(', ')})`;
  });
  const most = Math.max(...cells.map(({ mean }) => mean));
  const perRow = Math.min(4, counts.layers.length);
  const place = { fx: (d: { layer: number }) => d.layer % perRow, fy: (d: { layer: number }) => Math.floor(d.layer / perRow) };
  return {
    name: 'experts-per-token',
    title: 'Experts per token',
    caption: `Mean number of experts that a patch has, by its place, from 0 (lightest) to ${most.toFixed(2)} (darkest); one map for each layer. Mean over all, and share of the patches by their number of experts, by layer: ${spread.join('; ')}.`,
    svg: draw('Experts per token', {
      width: 40 + perRow * 170,
      height: 50 + Math.ceil(counts.layers.length / perRow) * (Math.round((150 * rows) / columns) + 30),
      x: { axis: null, type: 'band' },
      y: { axis: null, type: 'band' },
      fx: { axis: null, padding: 0.1 },
      fy: { axis: null, padding: 0.2 },
      color: { scheme: SCHEME, domain: [0, most], legend: false },
      marks: [
        Plot.cell(cells, { x: 'column', y: 'row', ...place, fill: 'mean', inset: 0 }),
        Plot.text(
          counts.layers.map((_, layer) => ({ layer })),
          { ...place, text: ({ layer }: { layer: number }) => `layer ${layer}`, frameAnchor: 'top', dy: -8 },
        ),
      ],
    }),
  };
}

function byClass(counts: RoutingCounts): Figure {
  const { classNames } = counts;
  const seen = classNames.map((_, label) => label).filter((label) => counts.layers[0].byClass.some((row) => row[label] > 0));
  const shares = counts.layers.map((layer) => columnShares(layer.byClass));
  const distance = (label: number): number =>
    counts.layers.reduce((sum, { load, byClass }, l) => {
      const total = byClass.flat().reduce((a, b) => a + b, 0);
      return sum + load.reduce((s, n, e) => s + Math.abs(shares[l][e][label] - n / total), 0);
    }, 0);
  const shown =
    seen.length <= MAX_CLASSES
      ? seen
      : seen
          .toSorted((a, b) => distance(b) - distance(a))
          .slice(0, MAX_CLASSES)
          .sort((a, b) => a - b);
  // Two classes may have the same name.
  const nameOf = (label: number): string =>
    new Set(classNames).size === classNames.length ? classNames[label] : `${label} ${classNames[label]}`;
  const cells = shares.flatMap((rows, layer) =>
    rows.flatMap((row, expert) => shown.map((label) => ({ layer, expert, column: nameOf(label), share: row[label] }))),
  );
  const strength = counts.layers.map((layer) => specialisation(layer.byClass).toFixed(3)).join(', ');
  return {
    name: 'class',
    title: 'Experts by class',
    caption: `Share of a class's assignments that each expert gets${shown.length < seen.length ? `; the ${MAX_CLASSES} of ${seen.length} classes that differ most from the average` : ''}. Dependence on the class (0 none, 1 complete) by layer: ${strength}.`,
    svg: perLayer(
      'Experts by class',
      counts,
      cells,
      shown.map(nameOf),
      'class',
      shown.some((label) => nameOf(label).length > 2),
    ),
  };
}

function byPosition(counts: RoutingCounts): Figure {
  const [rows, columns] = counts.grid;
  const experts = numExperts(counts);
  const cells = counts.layers.flatMap(({ byPosition: table }, layer) =>
    columnShares(table).flatMap((shares, expert) =>
      shares.map((share, token) => ({ layer, expert, row: Math.floor(token / columns), column: token % columns, share })),
    ),
  );
  const strength = counts.layers.map((layer) => specialisation(layer.byPosition).toFixed(3)).join(', ');
  return {
    name: 'position',
    title: 'Experts by place in the image',
    caption: `Share of a patch's assignments that each expert gets, for every layer (rows) and expert (columns); ${rows} x ${columns} patches. Dependence on the place (0 none, 1 complete) by layer: ${strength}.`,
    svg: draw('Experts by place in the image', {
      width: 94 + 90 * experts,
      height: 80 + Math.round((86 * rows) / columns) * counts.layers.length,
      // The name of the axis stands beside its numbers.
      ...{ marginLeft: 44, marginRight: 20, marginBottom: 40 },
      x: { axis: null, type: 'band' },
      y: { axis: null, type: 'band' },
      fx: { label: 'expert', padding: 0.06, tickFormat: expertName(counts.kinds) },
      fy: { label: 'layer', padding: 0.06 },
      color: colours(counts),
      marks: [Plot.cell(cells, { x: 'column', y: 'row', fx: 'expert', fy: 'layer', fill: 'share', inset: 0 })],
    }),
  };
}

function byTime(counts: RoutingCounts): Figure {
  const order = counts.times.map((_, i) => i).sort((a, b) => counts.times[b] - counts.times[a]);
  const size = Math.ceil(order.length / MAX_TIMES);
  const groups = Array.from({ length: Math.ceil(order.length / size) }, (_, g) => order.slice(g * size, (g + 1) * size));
  const names = groups.map((group) => Number(counts.times[group[0]].toPrecision(3)));
  const joined = counts.layers.map(({ byTimestep: table }) =>
    columnShares(table.map((row) => groups.map((group) => group.reduce((sum, i) => sum + row[i], 0)))),
  );
  const cells = joined.flatMap((rows, layer) =>
    rows.flatMap((row, expert) => row.map((share, g) => ({ layer, expert, column: String(names[g]), share }))),
  );
  const strength = counts.layers.map((layer) => specialisation(layer.byTimestep).toFixed(3)).join(', ');
  return {
    name: 'timestep',
    title: 'Experts by time',
    caption: `Share of the assignments at each time that each expert gets, from noise (left) to the finished image. Dependence on the time (0 none, 1 complete) by layer: ${strength}.`,
    svg: perLayer('Experts by time', counts, cells, names.map(String), 'time', true),
  };
}

function coActivation(counts: RoutingCounts): Figure {
  const experts = numExperts(counts);
  const cells = counts.layers.flatMap(({ coActivation: table, load }, layer) =>
    table.flatMap((row, expert) =>
      row.map((n, other) => ({ layer, expert, other, share: other === expert || load[expert] === 0 ? Number.NaN : n / load[expert] })),
    ),
  );
  const perRow = Math.min(4, counts.layers.length);
  return {
    name: 'co-activation',
    title: 'Experts chosen together',
    caption: `Of the tokens that chose the expert of the row, the share that also chose the expert of the column; one map for each layer.`,
    svg: draw('Experts chosen together', {
      width: Math.max(320, 100 + perRow * (16 * experts + 30)),
      height: 50 + Math.ceil(counts.layers.length / perRow) * (16 * experts + 40),
      marginLeft: 80,
      x: { label: 'other expert', type: 'band' },
      y: { label: 'expert', type: 'band', tickFormat: expertName(counts.kinds) },
      fx: { axis: null, padding: 0.12 },
      fy: { axis: null, padding: 0.16 },
      color: colours(counts),
      marks: [
        Plot.cell(cells, {
          x: 'other',
          y: 'expert',
          fx: (d: Cell) => d.layer % perRow,
          fy: (d: Cell) => Math.floor(d.layer / perRow),
          fill: 'share',
          inset: 0.3,
        }),
        Plot.text(
          counts.layers.map((_, layer) => layer),
          {
            fx: (layer: number) => layer % perRow,
            fy: (layer: number) => Math.floor(layer / perRow),
            text: (layer: number) => `layer ${layer}`,
            frameAnchor: 'top',
            dy: -8,
          },
        ),
      ],
    }),
  };
}

function likeness(prototypes: readonly Prototypes[]): Figure {
  const cells = prototypes.flatMap(({ shape: [channels, experts], data }, layer) => {
    const column = (e: number): number[] => Array.from({ length: channels }, (_, c) => data[c * experts + e]);
    const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, v, i) => sum + v * b[i], 0);
    const vectors = Array.from({ length: experts }, (_, e) => column(e));
    return vectors.flatMap((a, expert) =>
      vectors.map((b, other) => ({ layer, expert, other, cosine: dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)) })),
    );
  });
  const experts = prototypes[0].shape[1];
  const perRow = Math.min(4, prototypes.length);
  const place = { fx: (d: { layer: number }) => d.layer % perRow, fy: (d: { layer: number }) => Math.floor(d.layer / perRow) };
  return {
    name: 'prototypes',
    title: 'Likeness of the prototypes',
    caption:
      'Cosine of the prototypes of every two experts, from -1 (red) to 1 (blue); one map for each layer. Experts of like prototypes get like tokens.',
    svg: draw('Likeness of the prototypes', {
      width: Math.max(320, 60 + perRow * (20 * experts + 40)),
      height: 50 + Math.ceil(prototypes.length / perRow) * (20 * experts + 40),
      marginLeft: 40,
      x: { label: 'other expert', type: 'band' },
      y: { label: 'expert', type: 'band' },
      fx: { axis: null, padding: 0.12 },
      fy: { axis: null, padding: 0.2 },
      color: { scheme: 'RdBu', domain: [-1, 1], legend: false },
      marks: [
        Plot.cell(cells, { x: 'other', y: 'expert', ...place, fill: 'cosine', inset: 0.3 }),
        Plot.text(
          prototypes.map((_, layer) => ({ layer })),
          { ...place, text: ({ layer }: { layer: number }) => `layer ${layer}`, frameAnchor: 'top', dy: -8 },
        ),
      ],
    }),
  };
}
