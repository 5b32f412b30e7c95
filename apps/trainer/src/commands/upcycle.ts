/** `upcycle`: a model with experts from a trained dense one, to train on from (Komatsuzaki et al. 2022). */

import fs from 'node:fs/promises';
import path from 'node:path';
import { countWeights, type ModelCard, upcycle } from '@dit-moe/dit';
import { writeModel } from '@dit-moe/dit/node';
import { exitCodes, OutputError, untilInterrupted } from '@dit-moe/kit';
import { makeFolder } from '@dit-moe/tensor-ops/io/node';
import { continuationOf, writeContinuation } from '../config/continuation.js';
import { openSource, type SourceFlags } from './source-model.js';

export interface UpcycleFlags extends SourceFlags {
  experts: number;
  topK: number;
  granularity: number;
  shared: number;
  noise: number;
  normalize: boolean;
  seed: number;
  out: string;
  json: boolean;
}

/** Runs `upcycle` and returns the exit code. */
export const upcycleCommand = (location: string, flags: UpcycleFlags): Promise<number> =>
  untilInterrupted((signal) => upcycleModel(location, flags, signal));

async function upcycleModel(location: string, flags: UpcycleFlags, signal: AbortSignal): Promise<number> {
  await refuseExisting(flags.out, continuationOf(flags.out));
  const { model, card: own, assumed } = await openSource(location, flags);
  try {
    const sparse = upcycle(model, {
      ...{ numExperts: flags.experts, topK: flags.topK, granularity: flags.granularity, sharedRatio: flags.shared },
      ...{ noise: flags.noise, normalizeTopK: flags.normalize, seed: flags.seed },
    });
    const card: ModelCard = { ...own, config: sparse.config, step: 0 };
    await makeFolder(path.dirname(path.resolve(flags.out)));
    await writeModel(flags.out, sparse, { card, onProgress: () => signal.throwIfAborted() });
    const { file, hasData } = await writeContinuation(flags.out, card, model);
    const result = {
      from: model.path,
      out: path.resolve(flags.out),
      config: path.resolve(file),
      parameters: { before: countWeights(model.config), total: countWeights(sparse.config), active: countWeights(sparse.config, true) },
      assumed,
      model: sparse.config,
    };
    if (flags.json) console.log(JSON.stringify(result));
    else {
      for (const sentence of result.assumed) console.error(`assumed: ${sentence}`);
      const { before, total, active } = result.parameters;
      console.log(
        `Wrote ${result.out}: ${total.toLocaleString('en')} parameters, ${active.toLocaleString('en')} active, from ${before.toLocaleString('en')}.`,
      );
      console.log(`Train on with: dit-moe-trainer train ${file}${hasData ? '' : ' --data <path>'} --out <folder>`);
    }
    return exitCodes.ok;
  } finally {
    await model.close();
  }
}

/** @throws OutputError if one of the files is there already */
export async function refuseExisting(...files: readonly string[]): Promise<void> {
  for (const file of files)
    if ((await fs.stat(file).catch(() => undefined)) !== undefined)
      throw new OutputError(`${file} exists already. Choose another --out, or delete it.`);
}
