/** The page of a report. */
import { linesOverDays } from '../../apps/kit/src/charts.js';
import type { SpeedRecord } from './record.js';

const number = (x: number): string => (Math.abs(x) >= 100 ? x.toFixed(0) : x.toPrecision(3));
const orDash = (x: number | null | undefined, text: (x: number) => string): string => (x === null || x === undefined ? '' : text(x));

/** Markdown of a record. */
export function reportPage(record: SpeedRecord, figure: string | undefined): string {
  const { date, processor, instructions, cores, gibibytes, versions, load, minutes, rows, failed } = record;
  const table = rows.map(({ name, value, unit, peer, ratio, share, against }) =>
    [
      `| ${name.includes(' ') ? name : `\`${name}\``}`,
      `${number(value)} ${unit}`,
      orDash(peer, (x) => `${number(x)} (${against})`),
      orDash(ratio, (x) => x.toFixed(2)),
      `${orDash(share, (x) => `${Math.round(100 * x)} %`)} |`,
    ].join(' | '),
  );
  return `<!-- Written by bench/report. -->

# Measured: speed on ${date}

How fast is it, and against what?

| | |
|---|---|
| machine | ${[processor, ...instructions].join(', ')}; ${cores} cores, ${gibibytes} GiB |
| versions | ${Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ')} |
| commit | ${commitsOf(rows)} |
| load average before | ${load.toFixed(2)} |
| command | \`pnpm bench report\`, ${minutes.toFixed(0)} minutes |

DiT-MoE-S/2-8E2A, 256 px latents, batch 4 (\`sampling-cache\`: 50 steps with guidance, batch 1), both
sides in turns, medians. A ratio above 1 means that we are better, more of a speed or less of a
time or of memory. PyTorch is the fastest of the forms that were tried. The share is that of a step's
matrix products alone, of the same shapes, in its time: 100 % would be a step in which nothing else
costs anything.

| what | ours | against | ratio | share of the products' limit |
|---|---:|---:|---:|---:|
${table.join('\n')}
${failed.map(({ section, reason }) => `\nNot measured: \`${section}\`, because of "${reason}".\n`).join('')}${
  figure === undefined ? '' : `\n![Ratios over time](${figure})\n`
}`;
}

/** The commit; several with their sections. */
function commitsOf(rows: SpeedRecord['rows']): string {
  const commits = [...new Set(rows.map(({ commit }) => commit))];
  if (commits.length === 1) return commits[0];
  const sectionsOf = (one: string): string[] => [...new Set(rows.filter(({ commit }) => commit === one).map(({ section }) => section))];
  return commits.map((commit) => `${commit} (${sectionsOf(commit).join(', ')})`).join('; ');
}

/** Ratios against PyTorch of all records by section: SVG text; nothing to draw before there are two days. */
export function drawRatios(records: readonly SpeedRecord[]): string | undefined {
  const points = records.flatMap(({ date, rows }) =>
    rows.flatMap(({ name, ratio, against }) =>
      ratio === null || against !== 'PyTorch' ? [] : [{ date: new Date(date), name, value: ratio }],
    ),
  );
  if (new Set(points.map(({ date }) => date.getTime())).size < 2) return undefined;
  return linesOverDays(points, 'ratio', 'Ratios by section over the days that were measured');
}
