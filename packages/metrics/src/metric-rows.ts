/** The numbers of an evaluation by the names that people know them by. */
import type { MetricValues } from './evaluate.js';

/** One number. */
export interface MetricRow {
  name: string;
  value: number;
  /** The number with its uncertainty, if it has one. */
  text: string;
}

/**
 * The main number of each metric, in the order of a table.
 * @param network that the features are of, such as `inception`: only with it a distance is called FID
 */
export function metricRows(network: string, m: MetricValues): MetricRow[] {
  const inception = network === 'inception';
  const named = (frechet: string): string => (inception ? frechet : `${frechet.replace('FID', 'FD')} (${network})`);
  const rows: MetricRow[] = [];
  const add = (name: string, value: number | undefined, text = value?.toFixed(4)): void => {
    if (value !== undefined) rows.push({ name, value, text: text! });
  };
  const spread = (of: { mean: number; std: number } | undefined, digits: number): string | undefined =>
    of && `${of.mean.toFixed(digits)} +- ${of.std.toFixed(digits)}`;
  const interval = m['fd-interval'];
  add(named('FID'), m.fd?.distance);
  add(`${named('FID')}, 95 % interval`, interval?.value, interval && `${interval.low.toFixed(4)} to ${interval.high.toFixed(4)}`);
  add(`${named('FID')}, infinitely many samples`, m['fd-infinity']?.distance);
  add('sFID', m.sfd?.distance);
  add('Inception Score, in file order', m.is?.inOrder.mean);
  add('Inception Score, shuffled', m.is?.shuffled.mean, spread(m.is?.shuffled, 4));
  add('accuracy', m.accuracy);
  add('precision', m.pr?.precision);
  add('recall', m.pr?.recall);
  add('precision (ADM)', m['pr-adm']?.precision);
  add('recall (ADM)', m['pr-adm']?.recall);
  add('density', m.dc?.density);
  add('coverage', m.dc?.coverage);
  add(inception ? 'KID' : `kernel distance (${network})`, m.kd?.mean, spread(m.kd, 6));
  add('CMMD', m.cmmd);
  return rows;
}
