/**
 * The paper's claims: `pnpm reproduce [--quick] [--only a,d] [--anew] [--threads n]`.
 *
 * Trains what `results.json` lacks by `dit-moe-trainer sweep`, adds it, and writes `docs/reproduction.md`. Runs are kept in `runs/reproduce`; after an
 * interruption the same command goes on. `--anew` does not take the committed results for done. `--quick` trains every arm for two steps on the
 * digits, and keeps nothing.
 */
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { openPipeline } from '@dit-moe/pipeline/node';
import { claims, sameArm } from './claims.js';
import { root, runCommands, runProgram } from './commands.js';
import { frechetDistances } from './frechet.js';
import { reproductionPage } from './page.js';
import { readResults, resultsFile, writeResults } from './results.js';
import { dependenceOf } from './specialisation.js';
import { fullScale, quickScale, trainArms, trainClassifier } from './training.js';

const { values: flags } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    anew: { type: 'boolean', default: false },
    threads: { type: 'string', default: '1' },
  },
});
await runProgram(async () => {
  const wanted = (id: string): boolean => flags.only === undefined || flags.only.split(',').includes(id);
  const scale = flags.quick ? quickScale() : fullScale(resultsFile);
  const folder = path.join(root, scale.work);
  if (flags.quick) fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(folder, { recursive: true });
  if (!flags.quick) await runCommands([{ line: `dit-moe-trainer dataset fashion-mnist ${scale.data}`, makes: scale.data }]);
  const results = flags.anew || flags.quick ? { runs: [] } : readResults(scale.file);
  const report = (): string => {
    const page = reproductionPage(results);
    if (!flags.quick) fs.writeFileSync(path.join(root, 'docs/reproduction.md'), page);
    return page;
  };
  const train = async (arms: readonly string[], seed: number): Promise<void> => {
    await trainArms(results, arms, seed, flags.threads, scale);
    report();
  };

  // A measure whose noise is not known says nothing: the arm against itself comes first.
  for (const seed of flags.quick ? [0] : [0, 1]) await train([sameArm], seed);
  for (const { id, arms, seeds } of claims)
    if (wanted(id)) for (const seed of flags.quick ? seeds.slice(0, 1) : seeds) await train(arms, seed);
  if (results.dependence === undefined && wanted('e')) {
    const pipeline = await openPipeline(path.join(folder, `${sameArm}-0`));
    const { perClass, steps } = scale.pictures;
    results.dependence = await dependenceOf(pipeline, perClass, steps);
    pipeline.dispose();
    writeResults(results, scale.file);
  }
  if (results.frechet === undefined && wanted('a')) {
    results.frechet = await frechetDistances(scale, await trainClassifier(results, scale, flags.threads), flags.threads);
    writeResults(results, scale.file);
  }
  const page = report();
  console.log(
    flags.quick
      ? `${results.runs.length} trainings of two steps have run, and been judged on a page of ${page.length} characters.`
      : 'docs/reproduction.md',
  );
});
