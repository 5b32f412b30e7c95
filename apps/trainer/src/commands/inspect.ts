/** `inspect`: what a checkpoint or run holds: format, model, tensors, and how its experts are used. */

import path from 'node:path';
import { type DitConfig, describeModel, layoutOf, type ModelCard, type ModelFile } from '@dit-moe/dit';
import { openModel } from '@dit-moe/dit/node';
import { exitCodes } from '@dit-moe/kit';
import type { Checkpoint } from '@dit-moe/tensor-ops/io';
import { openCheckpoint } from '@dit-moe/tensor-ops/io/node';
import { runOf } from '../run/run-of.js';
import { type Manifest, verifyCheckpoint } from '../training/checkpoints.js';
import { readMetrics } from '../training/metrics-log.js';
import { listCheckpoints } from '../training/retention.js';
import type { LayerRouting } from '../training/routing.js';

export interface InspectFlags {
  weights?: string;
  tensors: boolean;
  stats: boolean;
  json: boolean;
}

interface TensorFacts {
  name: string;
  dtype: string;
  shape: readonly number[];
  mean?: number;
  deviation?: number;
  largest?: number;
  notFinite?: number;
}

/** Runs `inspect` and returns the exit code. */
export async function inspectCommand(location: string, flags: InspectFlags): Promise<number> {
  const { file, model, problem } = await open(location, flags.weights);
  try {
    const { card, config } = model ?? {};
    const tensors: TensorFacts[] = [];
    for (const name of file.names) {
      const { dtype, shape } = file.info(name);
      tensors.push({ name, dtype, shape, ...(flags.stats && statistics((await file.read(name)).data as ArrayLike<number>)) });
    }
    const count = tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
    const { run, manifest } = await checkpointOf(file.path);
    const metrics = run === undefined ? [] : await readMetrics(run);
    const routing = metrics.findLast((line) => line.routing.length > 0 && line.step <= (card?.step ?? Number.POSITIVE_INFINITY))?.routing;
    const result = {
      file: file.path,
      format: file.format,
      layout: model?.layout ?? layoutOf(file.names) ?? 'unknown',
      ...(problem !== undefined && { problem }),
      numbers: count,
      dtypes: [...new Set(tensors.map(({ dtype }) => dtype))],
      ...(config !== undefined && { config, description: describeModel(config), assumed: model!.assumed, skipped: model!.skipped }),
      ...(card !== undefined && { card }),
      ...(manifest !== undefined && { manifest }),
      ...(routing !== undefined && { routing }),
      tensors,
    };
    if (flags.json) console.log(JSON.stringify(result));
    else print(result, flags);
    return exitCodes.ok;
  } finally {
    await file.close();
  }
}

/** The tensors at a location and, if they are those of a model, the model. */
async function open(location: string, weights: string | undefined): Promise<{ file: Checkpoint; model?: ModelFile; problem?: string }> {
  try {
    // Of a run the newest one, also if it is damaged: that is what is to be seen.
    const [newest] = await listCheckpoints(location);
    const model = await openModel(newest ?? location, { weights });
    return { file: model.checkpoint, model, ...(await misfit(model)) };
  } catch (error) {
    // Other tensors can be looked at as well.
    const file = await openCheckpoint(location).catch(() => undefined);
    if (file === undefined) throw error;
    return { file, problem: (error as Error).message };
  }
}

/** Why the tensors are not those of the model that their names and shapes suggest, if so. */
async function misfit(model: ModelFile): Promise<{ problem?: string }> {
  const weights = model.weights();
  try {
    await weights.next();
    return {};
  } catch (error) {
    return { problem: (error as Error).message };
  } finally {
    await weights.return(undefined);
  }
}

/** The run and manifest around a checkpoint's file. */
async function checkpointOf(file: string): Promise<{ run?: string; manifest?: Manifest }> {
  const run = runOf(file);
  return run === undefined ? {} : { run, manifest: await verifyCheckpoint(path.dirname(path.resolve(file))) };
}

function statistics(data: ArrayLike<number>): Omit<TensorFacts, 'name' | 'dtype' | 'shape'> {
  let [sum, squares, largest, notFinite] = [0, 0, 0, 0];
  for (let i = 0; i < data.length; i++) {
    const value = Number(data[i]);
    if (!Number.isFinite(value)) {
      notFinite++;
      continue;
    }
    sum += value;
    squares += value * value;
    largest = Math.max(largest, Math.abs(value));
  }
  const n = Math.max(1, data.length - notFinite);
  return { mean: sum / n, deviation: Math.sqrt(Math.max(0, squares / n - (sum / n) ** 2)), largest, notFinite };
}

function print(
  result: {
    file: string;
    format: string;
    layout: string;
    numbers: number;
    dtypes: string[];
    problem?: string;
    config?: DitConfig;
    assumed?: readonly string[];
    skipped?: readonly string[];
    card?: ModelCard;
    description?: ReturnType<typeof describeModel>;
    manifest?: Manifest;
    routing?: readonly LayerRouting[];
    tensors: TensorFacts[];
  },
  flags: InspectFlags,
): void {
  const { card, config, description, assumed, skipped, problem, manifest, routing, tensors } = result;
  const line = (key: string, value: string) => console.log(`${key.padEnd(12)} ${value}`);
  line('file', result.file);
  line('format', `${result.format}, ${result.dtypes.join(' and ')}`);
  line('names', `${result.layout}, ${tensors.length} tensors, ${result.numbers.toLocaleString('en')} numbers`);
  if (config !== undefined && description !== undefined) {
    line(
      'model',
      `${config.depth} blocks, width ${config.hiddenSize}, ${config.numHeads} heads, patch ${config.patchSize}, ${config.inChannels} x ${config.inputSize.join(' x ')}`,
    );
    if (config.moe !== undefined) line('experts', `${config.moe.numExperts}, ${config.moe.topK} per token`);
    line(
      'parameters',
      `${description.parameters.total.toLocaleString('en')}, ${description.parameters.active.toLocaleString('en')} active`,
    );
    line('forward', `${description.gmac.total.toPrecision(4)} GMAC per image`);
    for (const sentence of assumed ?? []) line('assumed', sentence);
    for (const name of skipped ?? []) line('not read', name);
  }
  if (problem !== undefined) line('PROBLEM', problem);
  if (card !== undefined) {
    line('objective', `${card.objective}${card.timeScale === 1 ? '' : `, time scale ${card.timeScale}`}`);
    line('classes', `${card.classNames.length}: ${card.classNames.slice(0, 10).join(', ')}${card.classNames.length > 10 ? ', ...' : ''}`);
    line('step', card.step.toLocaleString('en'));
    if (card.emaDecay !== undefined) line('average', String(card.emaDecay));
  }
  if (manifest !== undefined) {
    line('verified', `${Object.keys(manifest.files).length} files by sha256`);
    line(
      'position',
      `sample ${manifest.record.position.toLocaleString('en')}, ${manifest.record.skipped} steps skipped, ${manifest.record.rollBacks} roll-backs`,
    );
  }
  if (routing !== undefined) {
    console.log('\nlayer  variation  largest/mean  router entropy  dead  share of each expert (%)');
    for (const [layer, { load, coefficientOfVariation, maxOverMean, routerEntropy, deadExperts }] of routing.entries()) {
      const total = load.reduce((a, b) => a + b, 0) || 1;
      const columns = [
        String(layer).padStart(5),
        coefficientOfVariation.toFixed(3).padStart(9),
        maxOverMean.toFixed(2).padStart(12),
        routerEntropy.toFixed(3).padStart(14),
        String(deadExperts.length).padStart(4),
        load.map((n) => ((100 * n) / total).toFixed(0).padStart(3)).join(' '),
      ];
      console.log(columns.join('  '));
    }
  }
  if (!flags.tensors && !flags.stats) return;
  console.log('');
  const width = Math.max(...tensors.map(({ name }) => name.length));
  for (const { name, dtype, shape, mean, deviation, largest, notFinite } of tensors) {
    const stats =
      mean === undefined
        ? ''
        : `  mean ${mean.toExponential(2)}  deviation ${deviation!.toExponential(2)}  largest ${largest!.toExponential(2)}${notFinite! > 0 ? `  NOT FINITE: ${notFinite}` : ''}`;
    console.log(`${name.padEnd(width)}  ${dtype.padEnd(4)}  [${shape}]${stats}`);
  }
}
