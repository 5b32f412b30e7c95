/** Position tables and timestep embeddings. */
import path from 'node:path';
import { positionEmbedding, timestepEmbedding } from '@dit-moe/dit';
import * as tf from '@tensorflow/tfjs-core';
import { type Comparison, compare, json, tensors } from './golden.js';

export const area = 'dit-moe/embeddings';

export async function* run(folder: string): AsyncGenerator<Comparison> {
  const tables = tensors(path.join(folder, 'pos_embed.safetensors'));
  for (const [name, { data }] of tables) {
    const [, dim, grid] = /^dim(\d+)\.grid(\d+)$/.exec(name)!;
    yield compare(name, positionEmbedding(Number(dim), [Number(grid), Number(grid)]), data as Float64Array, { atol: 1e-12, rtol: 0 });
  }
  const tolerances = json(path.join(folder, 'tolerances.json'))['timestep_embedding.safetensors'];
  const inputs = tensors(path.join(folder, 'timestep_embedding.inputs.safetensors'));
  for (const [name, { data }] of tensors(path.join(folder, 'timestep_embedding.safetensors'))) {
    const [, kind, size] = /^(int|frac)\.dim(\d+)$/.exec(name)!;
    const t = tf.tensor1d(Float32Array.from(inputs.get(`t_${kind}`)!.data as Float32Array));
    yield compare(name, (await timestepEmbedding(t, Number(size)).data()) as Float32Array, data as Float32Array, tolerances[name]);
  }
}
