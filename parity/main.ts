/**
 * `pnpm parity [folder] [--json] [--area name] [--backend name]`: compares this code with golden reference numbers.
 *
 * The folder has the layout described in docs/contributing/parity.md, as a whole or one of its subfolders; every file beside this one
 * checks one part of it. Exit code 0: all within tolerance; 1: a deviation, or nothing was compared; 2: wrong usage.
 */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import { type Comparison, check, locate } from './golden.js';

/** What each file of this folder exports. */
interface Area {
  /** Folder of the layout that it checks, for example `dit-moe/model`. */
  area: string;
  run(folder: string, root: string): AsyncGenerator<Comparison>;
}

const here = path.dirname(fileURLToPath(import.meta.url));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
    area: { type: 'string', multiple: true },
    backend: { type: 'string', default: 'tensorflow' },
  },
});
const root = path.resolve(positionals[0] ?? path.join(here, '../golden'));
if (!fs.existsSync(root)) {
  console.error(`parity: there is no folder ${root}. Give the folder with the golden numbers: pnpm parity <folder>`);
  process.exit(2);
}
if (values.backend === 'tensorflow') await useTensorFlow();
else {
  const tf = await import('@tensorflow/tfjs');
  if (values.backend === 'wasm') await import('@tensorflow/tfjs-backend-wasm');
  if (!(await tf.setBackend(values.backend))) {
    console.error(`parity: the backend "${values.backend}" is not available; use tensorflow, wasm or cpu.`);
    process.exit(2);
  }
}

const number = (x: number) => (Number.isInteger(x) ? String(x) : x.toExponential(1));
const results: Comparison[] = [];
const files = fs
  .readdirSync(here)
  .filter((file) => file.endsWith('.ts') && !['main.ts', 'golden.ts', 'readme.ts', 'reference-model.ts', 'guidance.ts'].includes(file));
for (const file of files.sort()) {
  const { area, run } = (await import(pathToFileURL(path.join(here, file)).href)) as Area;
  const folder = locate(root, area);
  if (folder === undefined || (values.area !== undefined && !values.area.some((name) => area.includes(name)))) continue;
  const own: Comparison[] = [];
  try {
    for await (const comparison of run(folder, root)) own.push({ ...comparison, name: `${area}/${comparison.name}` });
  } catch (error) {
    own.push(check(`${area}/${path.basename(file, '.ts')}`, false, (error as Error).stack));
  }
  results.push(...own);
  if (values.json) continue;
  for (const { name, passed, maxAbsError, maxRelError, maxOfTolerance, tolerance, detail } of own)
    if (!passed || values.verbose)
      console.log(
        `${passed ? '  ok' : 'FAIL'}  ${name.padEnd(64)} max error ${number(maxAbsError)} (relative ${number(maxRelError)}), ` +
          `allowed ${number(tolerance.atol)} + ${number(tolerance.rtol)}·|expected|, at worst ${number(maxOfTolerance)} of it${detail ? `\n      ${detail}` : ''}`,
      );
  const worst = own.reduce<Comparison | undefined>((most, r) => (r.maxOfTolerance > (most?.maxOfTolerance ?? 0) ? r : most), undefined);
  console.log(
    `${area} (${path.basename(file, '.ts')}): ${own.filter((r) => r.passed).length} of ${own.length} within tolerance` +
      (worst === undefined ? '' : `, at worst ${worst.maxOfTolerance.toFixed(2)} of it (${worst.name.slice(area.length + 1)})`),
  );
}
const failed = results.filter((r) => !r.passed).length;
if (values.json) console.log(JSON.stringify(results));
else console.log(results.length === 0 ? `nothing to compare in ${root}` : `${results.length - failed} passed, ${failed} failed`);
process.exit(failed > 0 || results.length === 0 ? 1 : 0);
