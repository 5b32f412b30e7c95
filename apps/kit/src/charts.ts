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

/** Name of an expert by its number, with its kind where that tells it from others and is the same in all layers. */
export function expertName(kinds: readonly (readonly string[])[]): (expert: number) => string {
  const [first = []] = kinds;
  const telling = new Set(first).size > 1 && kinds.every((layer) => layer.join() === first.join());
  return (expert) => (telling ? `${expert} ${first[expert]}` : String(expert));
}
