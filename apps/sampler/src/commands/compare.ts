/** `compare`: evaluations side by side, and why some of their numbers must not be compared. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { exitCodes, formatTable, UsageError } from '@dit-moe/kit';
import { metricRows } from '@dit-moe/metrics';
import type { EvaluationRecord } from './evaluate.js';

/** What must be equal for the numbers to be comparable. */
const CONDITIONS: [name: string, of: (record: EvaluationRecord) => string][] = [
  ['number of samples', (r) => String(r.samples.count)],
  ['reference', (r) => `${r.reference?.path} (${r.reference?.count})`],
  ['network', (r) => `${r.network.description}, weights ${r.network.weights?.sha256.slice(0, 16) ?? 'none'}`],
  ['TF32', (r) => r.computation.tf32.split(' (')[0]],
  ['label policy', (r) => r.samples.labelPolicy],
  ['rounding', (r) => r.samples.rounding],
  ['lossy files', (r) => String(r.samples.lossy.length > 0)],
];

/** Runs `compare` and returns the exit code. */
export async function compareCommand(files: readonly string[], { json }: { json: boolean }): Promise<number> {
  if (files.length < 2) throw new UsageError('Give at least two records that "evaluate --out" has written.');
  const records = await Promise.all(files.map(readRecord));
  const differences = CONDITIONS.flatMap(([name, of]) => {
    const values = records.map(of);
    return new Set(values).size > 1 ? [{ condition: name, values }] : [];
  });
  if (json) console.log(JSON.stringify({ files, metrics: records.map((record) => record.metrics), differences }));
  else console.log([table(files, records), ...differences.map(warning)].join('\n'));
  return exitCodes.ok;
}

async function readRecord(file: string): Promise<EvaluationRecord> {
  try {
    const record = JSON.parse(await fs.readFile(file, 'utf8')) as EvaluationRecord;
    if (record.format !== 1 || typeof record.metrics !== 'object' || typeof record.samples !== 'object')
      throw new Error('it is another kind of file');
    return record;
  } catch (cause) {
    throw new UsageError(`${file} is not a record of "evaluate --out": ${(cause as Error).message}.`);
  }
}

function table(files: readonly string[], records: readonly EvaluationRecord[]): string {
  const columns = records.map((record) => new Map(metricRows(record.network.name, record.metrics).map(({ name, text }) => [name, text])));
  const names = [...new Set(columns.flatMap((column) => [...column.keys()]))];
  const rows = [
    ['', ...files.map((file) => path.basename(file, '.json'))],
    ...names.map((name) => [name, ...columns.map((column) => column.get(name) ?? '-')]),
  ];
  return formatTable(rows, (column) => column > 0);
}

const warning = ({ condition, values }: { condition: string; values: string[] }): string =>
  `warning: the ${condition} differs (${[...new Set(values)].join('; ')}): the numbers do not compare.`;
