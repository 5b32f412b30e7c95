/** `export`: the weights of a run for somebody else: as PyTorch's reference reads them, as one safetensors file, or as a folder to publish. */

import fs from 'node:fs/promises';
import path from 'node:path';
import type { ModelCard, ModelFile } from '@dit-moe/dit';
import { openModel, type WriteModelOptions, writeModel } from '@dit-moe/dit/node';
import { exitCodes, OutputError, UsageError, untilInterrupted } from '@dit-moe/kit';
import type { InferencePrecision } from '@dit-moe/tensor-ops';
import { createFolderAtomically, makeFolder } from '@dit-moe/tensor-ops/io/node';
import { CheckpointError } from '../errors.js';
import { DTYPES, exportBundle } from '../export/bundle.js';
import { readEvaluation } from '../export/model-page.js';

export type ExportFormat = 'bundle' | 'safetensors' | 'reference' | 'diffusers';

export interface ExportFlags {
  to: ExportFormat;
  weights?: string;
  precision?: InferencePrecision;
  out: string;
  license?: string;
  evaluation?: readonly string[];
  json: boolean;
}

/** Endings of what each format is written to; none: a folder. */
const ENDINGS: Record<ExportFormat, readonly string[]> = {
  bundle: [],
  diffusers: [],
  safetensors: ['.safetensors'],
  reference: ['.pt', '.pth', '.safetensors'],
};

/** @throws UsageError if the name does not say what is written */
function checkName({ to, out }: Pick<ExportFlags, 'to' | 'out'>): void {
  const endings = ENDINGS[to];
  const isFile = /\.(pt|pth|bin|ckpt|safetensors)$/.test(out);
  const others = Object.entries(ENDINGS).flatMap(([other, theirs]) => (theirs.some((ending) => out.endsWith(ending)) ? [other] : []));
  const hint = others.length === 0 ? '' : ` Such a file is written with --to ${others.join(' or ')}.`;
  if (endings.length === 0 && isFile) throw new UsageError(`--out ${out}: ${to} writes a folder; leave out the ending.${hint}`);
  if (endings.length > 0 && !endings.some((ending) => out.endsWith(ending)))
    throw new UsageError(`--out ${out} should end in ${endings.join(' or ')} for --to ${to}.${hint}`);
}

/** @throws UsageError for what stands on a bundle's page, where there is none, and for a licence that is no identifier */
function checkPageOptions({ to, license, evaluation }: ExportFlags): void {
  if (to !== 'bundle' && (license !== undefined || evaluation !== undefined))
    throw new UsageError(`--license and --evaluation stand on the page of a bundle; ${to} has none.`);
  if (license !== undefined && !/^[a-z0-9][a-z0-9.+-]*$/.test(license))
    throw new UsageError(`--license ${license}: expected an identifier such as apache-2.0, mit, cc-by-4.0 or cc-by-nc-4.0.`);
}

/** @throws CheckpointError if the file does not say what its model was trained for */
function requireOwnCard(model: ModelFile): ModelCard {
  if (model.card === undefined)
    throw new CheckpointError(`${model.path} does not say what it was trained for; only models of this project are exported.`);
  return model.card;
}

/** Runs `export` and returns the exit code. */
export const exportCommand = (location: string, flags: ExportFlags): Promise<number> =>
  untilInterrupted((signal) => exportModel(location, flags, signal));

async function exportModel(location: string, flags: ExportFlags, signal: AbortSignal): Promise<number> {
  checkName(flags);
  if (flags.precision === 'int8' && (flags.to === 'reference' || flags.to === 'diffusers'))
    throw new UsageError(`--precision int8 is for --to bundle and safetensors: no program of PyTorch reads such a ${flags.to} file.`);
  checkPageOptions(flags);
  const evaluations = await Promise.all((flags.evaluation ?? []).map(readEvaluation));
  const onProgress = (): void => signal.throwIfAborted();
  const model = await openModel(location, { ...(flags.weights !== undefined && { weights: flags.weights }), onWarning: console.error });
  try {
    const card = requireOwnCard(model);
    if ((await fs.stat(flags.out).catch(() => undefined)) !== undefined)
      throw new OutputError(`${flags.out} exists already. Choose another --out, or delete it.`);
    await makeFolder(path.dirname(path.resolve(flags.out)));
    const precision = flags.precision ?? (flags.to === 'bundle' ? 'bf16' : 'f32');
    if (flags.to === 'bundle') {
      const { license, weights = 'ema' } = flags;
      const origin = { run: location, weights, evaluations, onProgress, ...(license !== undefined && { license }) };
      await exportBundle(model, card, flags.out, precision, origin);
    } else {
      const options: WriteModelOptions = { card, dtype: DTYPES[precision], onProgress };
      if (flags.to === 'diffusers')
        await createFolderAtomically(
          flags.out,
          async (folder) => void (await writeModel(folder, model, { ...options, layout: 'diffusers' })),
        );
      else if (flags.to === 'safetensors') await writeModel(flags.out, model, options);
      else {
        if (card.timeScale !== 1)
          console.error(`note: the reference's samplers give the model t in [0, 1]; this one was trained with t times ${card.timeScale}.`);
        await writeModel(flags.out, model, { ...options, layout: card.config.qkNorm === true ? 'flash' : 'qkv' });
      }
    }
    const result = { from: model.path, step: card.step, format: flags.to, precision, out: path.resolve(flags.out) };
    console.log(flags.json ? JSON.stringify(result) : `Wrote ${result.out} (${flags.to}, ${precision}) from step ${result.step}.`);
    return exitCodes.ok;
  } finally {
    await model.close();
  }
}
