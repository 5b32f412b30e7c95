/** Sampling with a golden model, as the reference's script does it: guidance on three channels inside the forward pass. */
import fs from 'node:fs';
import path from 'node:path';
import { type BetaSchedule, ddim, ddpm, GaussianDiffusion, type SolverRun, type VarianceType } from '@dit-moe/diffusion';
import type { HostTensor } from '@dit-moe/tensor-ops/io';
import * as tf from '@tensorflow/tfjs-core';
import { type Comparison, check, compare, json, tensors } from './golden.js';
import { ditWithGuidance } from './guidance.js';
import { stated } from './readme.js';
import { onDevice, readModel } from './reference-model.js';

export const area = 'dit-moe/end-to-end';

export async function* run(folder: string): AsyncGenerator<Comparison> {
  const tolerances = json(path.join(folder, 'tolerances.json'))['outputs.safetensors'];
  const inputs = tensors(path.join(folder, 'inputs.safetensors'));
  const outputs = tensors(path.join(folder, 'outputs.safetensors'));
  const models = path.join(folder, '../model');
  const named = stated(folder, 'end-to-end/inputs.safetensors', /Model (\S+) \(weights in/);
  const fitting = named === undefined ? modelsThatFit(models, inputs) : [named];
  if (fitting.length !== 1) {
    const found = fitting.length === 0 ? 'none of the models fits the inputs' : `the inputs fit ${fitting.join(' and ')}`;
    yield check('model', false, `README.md does not say which model it is, and ${found}`);
    return;
  }
  const said = (pattern: RegExp) => stated(folder, 'end-to-end/outputs.safetensors', pattern);
  const scale = Number(said(/forward_with_cfg, scale ([\d.]+)/) ?? 1.5);
  const process = {
    schedule: (said(/(\w+) schedule/) ?? 'linear') as BetaSchedule,
    steps: Number(said(/schedule T=(\d+)/) ?? 1000),
    // Without a word the model's output tells it.
    varianceType: said(/T=\d+, (learned range|learned|fixed large|fixed small) variance/)?.replace(' ', '-') as VarianceType | undefined,
  };
  const { config, weights } = await readModel(path.join(models, fitting[0]));
  const [z, y] = ['z', 'y'].map((name) => onDevice(inputs, name));
  const model = (x: tf.Tensor, t: tf.Tensor): tf.Tensor => tf.tidy(() => ditWithGuidance(weights, config, x, t, y, scale));
  const noise = (step: number): tf.Tensor => tf.reshape(tf.slice(onDevice(inputs, 'ddpm_noises'), [step], [1]), z.shape);
  const cases = new Map<string, () => SolverRun>();
  for (const name of outputs.keys()) {
    const [method, clip] = name.split('.') as ['ddpm' | 'ddim', string];
    cases.set(`${method}.${clip}`, () => {
      const steps = outputs.get(`${method}.${clip}.states`)!.shape[0];
      const diffusion = new GaussianDiffusion({ ...process, spacing: method === 'ddpm' ? String(steps) : `ddim${steps}` });
      const options = { clip: clip === 'clip' };
      return method === 'ddpm' ? ddpm(diffusion, model, z, { ...options, noise }) : ddim(diffusion, model, z, options);
    });
  }
  for (const [id, start] of cases) {
    const states: Float32Array[] = [];
    for await (const { x } of start()) states.push((await x.data()).slice() as Float32Array);
    const joined = Float32Array.from(states.flatMap((state) => [...state]));
    const against = (name: string, actual: ArrayLike<number>) =>
      compare(name, actual, outputs.get(name)!.data as Float32Array, tolerances[name]);
    if (outputs.has(`${id}.states`)) yield against(`${id}.states`, joined);
    const half = states.at(-1)!.length / 2;
    if (outputs.has(`${id}.final_latents`)) yield against(`${id}.final_latents`, states.at(-1)!.subarray(0, half));
  }
}

/** Models whose inputs have the shape of the latents and whose labels include those given, the null label among them. */
function modelsThatFit(folder: string, inputs: Map<string, HostTensor>): string[] {
  const [, channels, size] = inputs.get('z')!.shape;
  const largest = Math.max(...(inputs.get('y')!.data as Int32Array));
  return fs.readdirSync(folder).filter((name) => {
    const file = path.join(folder, name, 'config.json');
    if (!fs.existsSync(file)) return false;
    const { in_channels, input_size, num_classes, class_dropout_prob } = json(file);
    const classes = num_classes - (class_dropout_prob > 0 ? 0 : 1);
    return in_channels === channels && input_size === size && largest === classes;
  });
}
