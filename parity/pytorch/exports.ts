/**
 * Whether PyTorch understands what is exported: writes models in each layout and format, with random weights and trained here with the
 * command `export`, and lets `check_exports.py` load them (diffusers' own with diffusers) and compare outputs. Not a test, because it
 * needs Python with torch, diffusers and safetensors:
 *
 * `npx tsx --conditions=@dit-moe/source parity/pytorch/exports.ts [python3]`
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type DitConfig, dit, isMatrix, type Layout } from '@dit-moe/dit';
import { openModel, writeModel } from '@dit-moe/dit/node';
import { decodeTensor, encodeTensor } from '@dit-moe/tensor-ops/io';
import { writeSafetensors } from '@dit-moe/tensor-ops/io/node';
import { startBackend } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { type ExportFormat, exportCommand } from '../../apps/trainer/src/commands/export.js';
import { makeRoot, runTiny, tinyConfig } from '../../apps/trainer/src/testing/tiny-run.js';
import { randomNumbers, someInputs, tiny } from '../../packages/dit/src/testing/models.js';

type Numbers = Record<string, { shape: readonly number[]; data: Float32Array }>;

interface Random {
  name: string;
  config: DitConfig;
  layout: Layout;
  file: string;
  dtype?: keyof typeof torchTypes;
}

const experts: DitConfig = { ...tiny, inputSize: [8, 8], inChannels: 4, numClasses: 5, learnSigma: true };
const { moe: _, ...dense } = experts;
const random: Random[] = [
  { name: "Meta's DiT, .pt", config: dense, layout: 'qkv', file: 'dense.pt' },
  { name: "Meta's DiT, safetensors", config: dense, layout: 'qkv', file: 'dense.safetensors' },
  { name: 'DiT-MoE, .pt', config: experts, layout: 'qkv', file: 'experts.pt' },
  { name: 'DiT-MoE, bfloat16 .pt', config: experts, layout: 'qkv', file: 'low.pt', dtype: 'BF16' },
  { name: 'DiT-MoE, float16 safetensors', config: experts, layout: 'qkv', file: 'low.safetensors', dtype: 'F16' },
  { name: 'DiT-MoE, flash attention', config: { ...experts, qkNorm: true }, layout: 'flash', file: 'flash.pt' },
  { name: 'diffusers', config: { ...dense, timestepFrequencies: 'diffusers' }, layout: 'diffusers', file: 'diffusers' },
  {
    name: 'diffusers, embedders in every block',
    config: { ...dense, timestepFrequencies: 'diffusers', blockEmbedders: true },
    layout: 'diffusers',
    file: 'block-embedders',
  },
];

interface Trained {
  name: string;
  overrides: string[];
  to: ExportFormat;
  layout: Layout;
  file: string;
  precision?: 'bf16';
}

/** Far from the beginning, where many weights are zero. */
const STEPS = ['steps=40', 'optimizer.learningRate=0.01', 'checkpoints.every=40', 'logEvery=40', 'model.depth=2', 'ema=[0.5]'];
const [DENSE, DDPM] = ['model.moe=null', 'objective.kind=ddpm'];
const FREQUENCIES = 'model.timestepFrequencies=diffusers';
const trained: Trained[] = [
  { name: 'trained DiT, .pt', overrides: [DENSE, DDPM], to: 'reference', layout: 'qkv', file: 'trained-dense.pt' },
  { name: 'trained DiT-MoE, flow, .pt', overrides: [], to: 'reference', layout: 'qkv', file: 'trained-flow.pt' },
  { name: 'trained DiT-MoE, DDPM, safetensors', overrides: [DDPM], to: 'reference', layout: 'qkv', file: 'trained.safetensors' },
  { name: 'trained DiT-MoE, bfloat16 .pt', overrides: [DDPM], to: 'reference', layout: 'qkv', file: 'trained-low.pt', precision: 'bf16' },
  { name: 'trained DiT-MoE, q/k norms', overrides: ['model.qkNorm=true'], to: 'reference', layout: 'flash', file: 'trained-flash.pt' },
  { name: 'trained without null label, .pt', overrides: ['labelDropout=0'], to: 'reference', layout: 'qkv', file: 'trained-labels.pt' },
  {
    name: 'trained DiT, diffusers',
    overrides: [DENSE, DDPM, FREQUENCIES],
    to: 'diffusers',
    layout: 'diffusers',
    file: 'trained-diffusers',
  },
  { name: 'trained flow, diffusers', overrides: [DENSE, FREQUENCIES], to: 'diffusers', layout: 'diffusers', file: 'trained-flow' },
  {
    name: 'trained without null label, diffusers',
    overrides: [DENSE, DDPM, FREQUENCIES, 'labelDropout=0'],
    to: 'diffusers',
    layout: 'diffusers',
    file: 'trained-labels',
  },
];
const torchTypes = { F32: 'torch.float32', F16: 'torch.float16', BF16: 'torch.bfloat16' };

/** Inputs and our outputs for weights as the file has them. */
async function writeOurs(file: string, config: DitConfig, numbers: Numbers, dtype: keyof typeof torchTypes): Promise<void> {
  const rounded = Object.entries(numbers).map(([weight, { shape, data }]) => {
    const values = isMatrix(weight) ? decodeTensor(encodeTensor(data, dtype), dtype) : data;
    return [weight, tf.tensor(values as Float32Array, [...shape])] as const;
  });
  const [x, t, labels] = someInputs(config, 4);
  // The null label, if there is one, is the one behind the classes.
  const y = tf.mod(labels, tf.scalar(numbers['labelEmbedding.table'].shape[0], 'int32'));
  const steps = tf.mul(t, 600);
  const { output } = dit(Object.fromEntries(rounded), config, x, steps, y);
  const tensors = Object.entries({ x, t: steps, y, out: output }).map(([key, tensor]) => {
    const type = tensor.dtype === 'int32' ? ('I32' as const) : ('F32' as const);
    return { name: key, dtype: type, shape: tensor.shape, bytes: () => encodeTensor(tensor.dataSync() as Float32Array, type) };
  });
  await writeSafetensors(file, tensors);
}

/** @param python that has what it needs, or the process ends with a sentence */
function requirePython(python: string): void {
  const { status, error, stderr } = spawnSync(python, ['-c', 'import torch, diffusers, safetensors'], { encoding: 'utf8' });
  if (status === 0) return;
  const reason = error?.message ?? stderr.trim().split('\n').at(-1);
  console.error(`Nothing is checked: ${python} cannot import torch, diffusers and safetensors (${reason})..`);
  process.exit(2);
}

const python = process.argv[2] ?? 'python3';
requirePython(python);
await startBackend('auto');
const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'check-exports-'));
const { root, images, newRun } = makeRoot();
let status: number | null;
try {
  const written = [];
  for (const { name, config, layout, file, dtype = 'F32' } of random) {
    const numbers = randomNumbers(config);
    const weights = async function* () {
      for (const [weight, value] of Object.entries(numbers)) yield [weight, value] as [string, typeof value];
    };
    await writeModel(path.join(folder, file), { config, weights }, { layout, dtype });
    await writeOurs(path.join(folder, `${file}.io.safetensors`), config, numbers, dtype);
    written.push({ name, config, layout, file, types: [...new Set([torchTypes.F32, torchTypes[dtype]])] });
  }
  for (const { name, overrides, to, layout, file, precision } of trained) {
    const run = newRun();
    await runTiny(tinyConfig(images, ...STEPS, ...overrides), run);
    await exportCommand(run, { to, weights: 'ema', out: path.join(folder, file), json: true, ...(precision && { precision }) });
    const model = await openModel(run, { weights: 'ema' });
    const numbers: Numbers = {};
    for await (const [weight, value] of model.weights()) numbers[weight] = { shape: value.shape, data: Float32Array.from(value.data) };
    await model.close();
    const dtype = precision === 'bf16' ? 'BF16' : 'F32';
    await writeOurs(path.join(folder, `${file}.io.safetensors`), model.config, numbers, dtype);
    written.push({ name, config: model.config, layout, file, types: [...new Set([torchTypes.F32, torchTypes[dtype]])] });
  }
  await fs.writeFile(path.join(folder, 'cases.json'), JSON.stringify(written));
  const script = fileURLToPath(new URL('check_exports.py', import.meta.url));
  ({ status } = spawnSync(python, [script, folder], { stdio: 'inherit' }));
} finally {
  await fs.rm(folder, { recursive: true });
  await fs.rm(root, { recursive: true });
}
process.exit(status ?? 1);
