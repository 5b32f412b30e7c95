/**
 * Whether PyTorch understands exported models: writes one in each layout and format, and lets `check_exports.py` load them (diffusers'
 * own with diffusers) and compare outputs. Not a test, because it needs Python with torch, diffusers and safetensors:
 *
 * `npx tsx --conditions=@dit-moe/source packages/dit/test/pytorch/check-exports.ts`
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type DitConfig, dit, isMatrix, type Layout } from '@dit-moe/dit';
import { type WriteModelOptions, writeModel } from '@dit-moe/dit/node';
import { decodeTensor, encodeTensor } from '@dit-moe/tensor-ops/io';
import { writeSafetensors } from '@dit-moe/tensor-ops/io/node';
import * as tf from '@tensorflow/tfjs';
import { randomNumbers, someInputs, tiny } from '../../src/testing/models.js';

interface Case {
  name: string;
  config: DitConfig;
  layout: Layout;
  file: string;
  dtype?: NonNullable<WriteModelOptions['dtype']>;
}

const experts: DitConfig = { ...tiny, inputSize: [8, 8], inChannels: 4, numClasses: 5, learnSigma: true };
const { moe: _, ...dense } = experts;
const cases: Case[] = [
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
const torchTypes = { F32: 'torch.float32', F16: 'torch.float16', BF16: 'torch.bfloat16' };

await tf.setBackend('cpu');
const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'check-exports-'));
try {
  const written = [];
  for (const { name, config, layout, file, dtype = 'F32' } of cases) {
    const numbers = randomNumbers(config);
    const weights = async function* () {
      for (const [weight, value] of Object.entries(numbers)) yield [weight, value] as [string, typeof value];
    };
    await writeModel(path.join(folder, file), { config, weights }, { layout, dtype });
    const rounded = Object.entries(numbers).map(([weight, { shape, data }]) => {
      const values = isMatrix(weight) ? decodeTensor(encodeTensor(data, dtype), dtype) : data;
      return [weight, tf.tensor(values as Float32Array, shape)] as const;
    });
    const [x, t, y] = someInputs(config, 4);
    const steps = tf.mul(t, 600);
    const { output } = dit(Object.fromEntries(rounded), config, x, steps, y);
    const tensors = Object.entries({ x, t: steps, y, out: output }).map(([key, tensor]) => {
      const type = tensor.dtype === 'int32' ? ('I32' as const) : ('F32' as const);
      return { name: key, dtype: type, shape: tensor.shape, bytes: () => encodeTensor(tensor.dataSync() as Float32Array, type) };
    });
    await writeSafetensors(path.join(folder, `${name}.io.safetensors`), tensors);
    written.push({ name, config, layout, file, types: [...new Set([torchTypes.F32, torchTypes[dtype]])] });
  }
  await fs.writeFile(path.join(folder, 'cases.json'), JSON.stringify(written));
  const script = fileURLToPath(new URL('check_exports.py', import.meta.url));
  execFileSync('python3', [script, folder], { stdio: 'inherit' });
} finally {
  await fs.rm(folder, { recursive: true });
}
