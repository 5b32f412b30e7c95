/** `reduce`: a model with fewer experts from one with many, to train on with the larger one as its teacher. */

import fs from 'node:fs/promises';
import path from 'node:path';
import { countWeights, type ModelCard, reduceExperts } from '@dit-moe/dit';
import { writeModel } from '@dit-moe/dit/node';
import { exitCodes, UsageError, untilInterrupted } from '@dit-moe/kit';
import { makeFolder } from '@dit-moe/tensor-ops/io/node';
import { continuationOf, writeContinuation } from '../config/continuation.js';
import { runOf } from '../run/run-of.js';
import { ROUTING_FILE } from '../training/routing.js';
import { openSource, type SourceFlags } from './source-model.js';
import { refuseExisting } from './upcycle.js';

export interface ReduceFlags extends SourceFlags {
  keep: number;
  method: 'prune' | 'merge';
  load?: string;
  out: string;
  json: boolean;
}

/** Runs `reduce` and returns the exit code. */
export const reduceCommand = (location: string, flags: ReduceFlags): Promise<number> =>
  untilInterrupted((signal) => reduceModel(location, flags, signal));

async function reduceModel(location: string, flags: ReduceFlags, signal: AbortSignal): Promise<number> {
  await refuseExisting(flags.out, continuationOf(flags.out));
  const { model, card: own, assumed } = await openSource(location, flags);
  try {
    const load = await readLoad(flags.load, model.path);
    const fewer = reduceExperts(model, { keep: flags.keep, method: flags.method, load });
    const card: ModelCard = { ...own, config: fewer.config, step: 0 };
    await makeFolder(path.dirname(path.resolve(flags.out)));
    await writeModel(flags.out, fewer, { card, onProgress: () => signal.throwIfAborted() });
    const teacher = runOf(model.path) ?? model.path;
    const { file, hasData } = await writeContinuation(flags.out, card, model, { distillation: { teacher: path.resolve(teacher) } });
    const result = {
      from: model.path,
      out: path.resolve(flags.out),
      config: path.resolve(file),
      parameters: { before: countWeights(model.config), total: countWeights(fewer.config), active: countWeights(fewer.config, true) },
      assumed,
      model: fewer.config,
    };
    if (flags.json) console.log(JSON.stringify(result));
    else {
      for (const sentence of result.assumed) console.error(`assumed: ${sentence}`);
      const { before, total } = result.parameters;
      console.log(`Wrote ${result.out}: ${total.toLocaleString('en')} parameters from ${before.toLocaleString('en')}.`);
      console.log(
        `Train on with the larger model as the teacher: dit-moe-trainer train ${file}${hasData ? '' : ' --data <path>'} --out <folder>`,
      );
    }
    return exitCodes.ok;
  } finally {
    await model.close();
  }
}

/** Tokens per expert and layer, as a run or the sampler's `routing` has counted them. */
async function readLoad(given: string | undefined, modelFile: string): Promise<number[][]> {
  const run = runOf(modelFile);
  const file = given ?? (run === undefined ? undefined : path.join(run, ROUTING_FILE));
  if (file === undefined)
    throw new UsageError('--load: which experts are used is not known of this file; give the routing.json of its run.');
  try {
    const { layers } = JSON.parse(await fs.readFile(file, 'utf8')) as { layers: { load: number[] }[] };
    return layers.map(({ load }) => load.map(Number));
  } catch (cause) {
    throw new UsageError(`--load: ${file} is no routing.json of a run or of "dit-moe-sampler routing": ${(cause as Error).message}`);
  }
}
