/**
 * Sampling through the command line against the reference's numbers: `golden/dit-moe/end-to-end`, made with DiT-MoE's own sampling
 * code (guidance on three channels, learned variance, respaced DDPM and DDIM).
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { cardToMetadata, type ModelCard, weightSpecs } from '@dit-moe/dit';
import { openModel as openReference } from '@dit-moe/dit/node';
import { bundleProgram } from '@dit-moe/kit/testing';
import { SafetensorsFile, writeSafetensors } from '@dit-moe/tensor-ops/io/node';
import { afterAll, beforeAll, expect, test } from 'vitest';

const golden = path.join(import.meta.dirname, '../../../golden/dit-moe');
const root = fs.mkdtempSync(path.join(os.tmpdir(), 'golden-'));
const model = path.join(root, 'model.safetensors');
const noise = path.join(root, 'noise.safetensors');
const json = (file: string) => JSON.parse(fs.readFileSync(path.join(golden, file), 'utf8'));
let start: Awaited<ReturnType<typeof bundleProgram>>;
let labels: number[];
let outputs: SafetensorsFile;

const float = (name: string, shape: readonly number[], data: Float32Array) => ({
  name,
  dtype: 'F32' as const,
  shape,
  bytes: () => new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
});

beforeAll(async () => {
  const c = json('model/A1/config.json');
  const file = await openReference(path.join(golden, 'model/A1/weights.safetensors'), {
    config: { numHeads: c.num_heads, numClasses: c.num_classes, topK: c.num_experts_per_tok },
  });
  const card: ModelCard = {
    config: file.config,
    objective: 'ddpm',
    timeScale: 1,
    classNames: Array.from({ length: c.num_classes }, (_, i) => `class-${i}`),
    step: 0,
  };
  const tensors = new Map<string, Float32Array>();
  for await (const [name, { data }] of file.weights()) tensors.set(name, data);
  await file.close();
  await writeSafetensors(
    model,
    Object.entries(weightSpecs(file.config)).map(([name, { shape }]) => float(name, shape, tensors.get(name)!)),
    cardToMetadata(card),
  );
  const inputs = await SafetensorsFile.open(path.join(golden, 'end-to-end/inputs.safetensors'));
  const [z, y, noises] = await Promise.all(['z', 'y', 'ddpm_noises'].map((name) => inputs.read(name)));
  await inputs.close();
  // Stored for the conditional and the unconditional half; the first half is what is sampled.
  const [count, ...rest] = [z.shape[0] / 2, ...z.shape.slice(1)];
  const size = z.data.length / 2;
  const steps = noises.shape[0];
  const firstHalves = new Float32Array(steps * size);
  for (let s = 0; s < steps; s++) firstHalves.set((noises.data as Float32Array).subarray(2 * s * size, (2 * s + 1) * size), s * size);
  await writeSafetensors(noise, [
    float('start', [count, ...rest], (z.data as Float32Array).slice(0, size)),
    float('steps', [steps, count, ...rest], firstHalves),
  ]);
  labels = Array.from(y.data as Int32Array).slice(0, count);
  outputs = await SafetensorsFile.open(path.join(golden, 'end-to-end/outputs.safetensors'));
  start = await bundleProgram(new URL('./cli.ts', import.meta.url));
});
afterAll(async () => {
  await outputs.close();
  fs.rmSync(root, { recursive: true });
});

test.each(['ddpm.noclip', 'ddpm.clip', 'ddim.clip'])('%s', async (name) => {
  const [solver, clip] = name.split('.') as [string, string];
  const expected = await outputs.read(`${name}.final_latents`);
  const { rtol, atol } = json('end-to-end/tolerances.json')['outputs.safetensors'][`${name}.final_latents`];
  const raw = path.join(root, `${name}.safetensors`);
  const flags = ['--classes', labels.join(), '--count', '1', '--noise', noise, '--raw', raw, '--out', path.join(root, `${name}.png`)];
  const sampler = ['--solver', solver, '--spacing', solver === 'ddim' ? 'ddim10' : '10', '--guidance', '1.5', '--vae', 'none'];
  const { code, err } = await start(['sample', model, ...flags, ...sampler, ...(clip === 'clip' ? ['--clip'] : [])]).ended;
  expect(err).not.toMatch(/error/i);
  expect(code).toBe(0);
  const file = await SafetensorsFile.open(raw);
  const { shape, data } = await file.read('samples');
  await file.close();
  expect(shape).toEqual(expected.shape);
  const worst = Math.max(
    ...Array.from(
      data as Float32Array,
      (v, i) => Math.abs(v - Number(expected.data[i])) / (atol + rtol * Math.abs(Number(expected.data[i]))),
    ),
  );
  expect(worst).toBeLessThanOrEqual(1);
});
