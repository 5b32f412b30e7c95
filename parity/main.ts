/**
 * `pnpm parity [folder] [--json] [--area name]`: compares this code with golden reference numbers.
 *
 * The folder has the layout described in docs/parity.md; every file beside this one checks one part of it and yields one
 * line per compared quantity. Exit code 0: all within tolerance; 1: a deviation, or nothing was compared; 2: wrong usage.
 */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';

/** One comparison: passes if `error <= tolerance`. */
export interface Comparison {
  name: string;
  error: number;
  tolerance: number;
  detail?: string;
}

interface Area {
  area: string;
  run(goldenRoot: string): AsyncGenerator<Comparison>;
}

const here = path.dirname(fileURLToPath(import.meta.url));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    area: { type: 'string', multiple: true },
    backend: { type: 'string', default: 'tensorflow' },
  },
});
const root = path.resolve(positionals[0] ?? process.env['DIT_MOE_GOLDEN'] ?? path.join(here, '../../shared/golden'));
if (!fs.existsSync(root)) {
  console.error(`parity: there is no folder ${root}. Give the folder with the golden numbers: pnpm parity <folder>`);
  process.exit(2);
}
if (values.backend === 'tensorflow') await useTensorFlow();
else {
  const tf = await import('@tensorflow/tfjs');
  if (!(await tf.setBackend(values.backend!))) {
    console.error(`parity: the backend "${values.backend}" is not available; use tensorflow or cpu.`);
    process.exit(2);
  }
}

const results: (Comparison & { area: string; passed: boolean })[] = [];
for (const file of fs
  .readdirSync(here)
  .filter((f) => f.endsWith('.ts') && f !== 'main.ts')
  .sort()) {
  const { area, run } = (await import(pathToFileURL(path.join(here, file)).href)) as Area;
  if (values.area !== undefined && !values.area.some((a) => area.includes(a))) continue;
  try {
    for await (const comparison of run(root)) {
      const passed = comparison.error <= comparison.tolerance;
      results.push({ ...comparison, area, passed });
      if (!values.json && !passed)
        console.log(`FAIL ${area} ${comparison.name}: error ${comparison.error} above ${comparison.tolerance} ${comparison.detail ?? ''}`);
    }
  } catch (error) {
    results.push({ area, name: 'run', error: Number.POSITIVE_INFINITY, tolerance: 0, passed: false, detail: String(error) });
    if (!values.json) console.log(`FAIL ${area}: ${(error as Error).stack}`);
  }
  const own = results.filter((r) => r.area === area);
  if (!values.json) console.log(`${area}: ${own.filter((r) => r.passed).length} of ${own.length} within tolerance`);
}
const failed = results.filter((r) => !r.passed).length;
if (values.json) console.log(JSON.stringify({ root, compared: results.length, failed, results }));
else console.log(`${results.length - failed} passed, ${failed} failed`);
process.exit(failed > 0 || results.length === 0 ? 1 : 0);
