/** `export`: the weights of a run for somebody else: as PyTorch's reference reads them, as one safetensors file, or as a folder to publish. */

import fs from 'node:fs/promises';
import path from 'node:path';
import type { Layout } from '@dit-moe/dit';
import { makeFolder } from '@dit-moe/tensor-ops/io/node';
import { exitCodes, OutputError } from '../errors.js';
import { exportBundle } from '../export/bundle.js';
import { exportState } from '../export/reference.js';
import { exportSafetensors } from '../export/safetensors.js';
import { openModelFile, requireOwnCard } from '../model-file.js';

export type ExportFormat = 'bundle' | 'safetensors' | 'reference' | 'diffusers';

export interface ExportFlags {
  to: ExportFormat;
  weights: string;
  precision?: 'f32' | 'bf16';
  out: string;
  json: boolean;
}

/** Runs `export` and returns the exit code. */
export async function exportCommand(location: string, flags: ExportFlags): Promise<number> {
  const model = await openModelFile(location, flags.weights);
  try {
    const card = requireOwnCard(model);
    if ((await fs.stat(flags.out).catch(() => undefined)) !== undefined)
      throw new OutputError(`${flags.out} exists already. Choose another --out, or delete it.`);
    await makeFolder(path.dirname(path.resolve(flags.out)));
    const precision = flags.precision ?? (flags.to === 'bundle' ? 'bf16' : 'f32');
    if (flags.to === 'bundle') await exportBundle(model, card, flags.out, precision, { run: location, weights: flags.weights });
    else if (flags.to === 'safetensors') await exportSafetensors(model, card, flags.out, precision);
    else {
      const layout: Layout = flags.to === 'diffusers' ? 'diffusers' : card.config.qkNorm === true ? 'flash' : 'qkv';
      await exportState(model, layout, flags.out, precision);
    }
    const result = { from: model.path, step: card.step, format: flags.to, precision, out: path.resolve(flags.out) };
    console.log(flags.json ? JSON.stringify(result) : `Wrote ${result.out} (${flags.to}, ${precision}) from step ${result.step}.`);
    return exitCodes.ok;
  } finally {
    await model.close();
  }
}
