/** Charts as SVG text. Apart from the rest of the kit, because it takes long to load. */
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';

/**
 * Draws a chart: SVG text that can stand alone in a file, or with a legend HTML around it.
 * @param label what is to be seen, for those who cannot
 */
export function drawChart(options: Plot.PlotOptions, label: string): string {
  const { document } = parseHTML('<html><body></body></html>');
  const chart = Plot.plot({ document: document as unknown as Document, ...options });
  chart.setAttribute('role', 'img');
  chart.setAttribute('aria-label', label);
  if (chart.localName === 'svg' && !chart.hasAttribute('xmlns')) chart.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
  return chart.outerHTML;
}

/** Lines by name over days, each named at its end, on white: SVG text for a file. */
export function linesOverDays(points: readonly { date: Date; name: string; value: number }[], label: string, title: string): string {
  return drawChart(
    {
      ...{ width: 800, height: 400, marginRight: 160, style: { background: 'white', color: '#222', fontFamily: 'sans-serif' } },
      x: { type: 'utc', label: null },
      y: { label, grid: true },
      marks: [
        Plot.lineY(points, { x: 'date', y: 'value', stroke: 'name', marker: 'dot' }),
        Plot.text(points, Plot.selectLast({ x: 'date', y: 'value', z: 'name', text: 'name', textAnchor: 'start', dx: 8 })),
      ],
    },
    title,
  );
}

/** The loss over the steps of trainings that follow one another, on white: SVG text for a file. Few points are marked. */
export function lossOverTrainings(trainings: readonly (readonly { step: number; loss: number }[])[], title: string): string {
  let begin = 0;
  const marks = trainings.flatMap((lines, i) => {
    const [from, points] = [begin, lines.map(({ step, loss }) => ({ step: begin + step, loss }))];
    begin = points.at(-1)?.step ?? begin;
    return [
      Plot.lineY(points, { x: 'step', y: 'loss', stroke: '#1f5fa8' }),
      ...(points.length < 20 ? [Plot.dot(points, { x: 'step', y: 'loss', fill: '#1f5fa8' })] : []),
      ...(i === 0 ? [] : [Plot.ruleX([from], { stroke: '#999', strokeDasharray: '4 3' })]),
    ];
  });
  return drawChart(
    {
      ...{ width: 800, height: 360, marginLeft: 50, style: { background: 'white', color: '#222', fontFamily: 'sans-serif' } },
      x: { label: 'step' },
      y: { label: 'loss', type: 'log', grid: true, tickFormat: '~g' },
      marks,
    },
    title,
  );
}

/** Name of an expert by its number, with its kind where that tells it from others and is the same in all layers. */
export function expertName(kinds: readonly (readonly string[])[]): (expert: number) => string {
  const [first = []] = kinds;
  const telling = new Set(first).size > 1 && kinds.every((layer) => layer.join() === first.join());
  return (expert) => (telling ? `${expert} ${first[expert]}` : String(expert));
}

/** Colours from none to twice an even share, and more; grey where there can be no share. */
export const shareColours = (even: number, scheme: Plot.ColorScheme, label: string): Plot.ScaleOptions => ({
  scheme,
  domain: [0, 2 * even],
  clamp: true,
  unknown: '#8886',
  label,
});

/** For cells that touch: without it the page is seen between them where a cell ends inside a pixel. */
export const touching = { shapeRendering: 'crispEdges' } as const;

/** What the colours of {@link shareColours} mean: a strip of them with an axis in percent. */
export function colourScale(colours: Plot.ScaleOptions, style: Plot.PlotOptions['style'] = undefined): string {
  const most = (colours.domain as number[])[1];
  const end = 100 * most;
  const parts = Array.from({ length: 40 }, (_, i) => ({ from: (i / 40) * end, to: ((i + 1) / 40) * end }));
  const percent = (share: number): string => String(Number(share.toPrecision(3)));
  return drawChart(
    {
      ...{ width: 340, height: 56, marginTop: 4, marginBottom: 34, marginLeft: 12, marginRight: 24, style },
      x: {
        label: `${colours.label} in %`,
        labelAnchor: 'left',
        labelArrow: 'none',
        ticks: [0, 0.25, 0.5, 0.75, 1].map((part) => part * end),
        // The last colour is that of more, too.
        tickFormat: (share: number) => (share === end ? `\u2265 ${percent(share)}` : percent(share)),
        domain: [0, end],
      },
      y: { axis: null },
      color: { ...colours, domain: [0, end], legend: false },
      marks: [Plot.rect(parts, { x1: 'from', x2: 'to', y1: 0, y2: 1, fill: 'from', ...touching })],
    },
    `colours from 0 to ${percent(end)} % and more: ${colours.label}`,
  );
}
