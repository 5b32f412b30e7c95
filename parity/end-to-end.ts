/** Sampling with a golden model, as the reference's script does it: guidance on three channels inside the forward pass. */
import path from 'node:path';
import { ddim, ddpm, GaussianDiffusion, type SolverRun } from '@dit-moe/diffusion';
import { ditWithGuidance } from '@dit-moe/dit';
import * as tf from '@tensorflow/tfjs-core';
import { type Comparison, compare, json, tensors } from './golden.js';
import { onDevice, readModel } from './reference-model.js';

export const area = 'dit-moe/end-to-end';

/** Stated by the layout. */
const MODEL = 'A1';
const SCALE = 1.5;

export async function* run(folder: string): AsyncGenerator<Comparison> {
  const tolerances = json(path.join(folder, 'tolerances.json'))['outputs.safetensors'];
  const inputs = tensors(path.join(folder, 'inputs.safetensors'));
  const outputs = tensors(path.join(folder, 'outputs.safetensors'));
  const { config, weights } = await readModel(path.join(folder, '../model', MODEL));
  const [z, y, noises] = ['z', 'y', 'ddpm_noises'].map((name) => onDevice(inputs, name)) as [tf.Tensor, tf.Tensor, tf.Tensor];
  const model = (x: tf.Tensor, t: tf.Tensor): tf.Tensor => tf.tidy(() => ditWithGuidance(weights, config, x, t, y, SCALE));
  const noise = (step: number): tf.Tensor => tf.reshape(tf.slice(noises, [step], [1]), z.shape);
  const cases = new Map<string, () => SolverRun>();
  for (const name of outputs.keys()) {
    const [method, clip] = name.split('.') as ['ddpm' | 'ddim', string];
    cases.set(`${method}.${clip}`, () => {
      const steps = outputs.get(`${method}.${clip}.states`)!.shape[0];
      const spec = method === 'ddpm' ? String(steps) : `ddim${steps}`;
      const diffusion = new GaussianDiffusion({ spacing: spec });
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
