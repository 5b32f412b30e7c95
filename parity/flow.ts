/** Rectified flow with the golden models: losses and sampling trajectories. */
import fs from 'node:fs';
import path from 'node:path';
import { classifierFreeGuidance, flowModel, objective, sample } from '@dit-moe/diffusion';
import { dit } from '@dit-moe/dit';
import { mean } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type Comparison, compare, json, tensors } from './golden.js';
import { stated } from './readme.js';
import { onDevice, readModel } from './reference-model.js';

export const area = 'dit-moe/flow';

export async function* run(folder: string): AsyncGenerator<Comparison> {
  const tolerances = json(path.join(folder, 'tolerances.json'));
  for (const file of fs
    .readdirSync(folder)
    .filter((name) => name.endsWith('.inputs.safetensors'))
    .sort()) {
    const id = file.slice(0, -'.inputs.safetensors'.length);
    const { config, weights } = await readModel(path.join(folder, '../model', id));
    const inputs = tensors(path.join(folder, file));
    const outputs = tensors(path.join(folder, `${id}.outputs.safetensors`));
    const against = (name: string, actual: ArrayLike<number>) =>
      compare(`${id}/${name}`, actual, outputs.get(name)!.data as Float32Array, tolerances[`${id}.outputs.safetensors`][name]);
    const [x, y, noise, z, nulls] = ['x', 'y', 'noise', 'z', 'null'].map((name) => onDevice(inputs, name)) as [
      tf.Tensor,
      tf.Tensor,
      tf.Tensor,
      tf.Tensor,
      tf.Tensor,
    ];
    const velocity = (points: tf.Tensor, t: tf.Tensor, labels: tf.Tensor): tf.Tensor =>
      tf.tidy(() => tf.slice(dit(weights, config, points, t, labels).output, [0, 0, 0, 0], [-1, config.inChannels, -1, -1]));
    const times = {
      logit_normal: ['t_normal', {}],
      uniform: ['t_uniform', { distribution: 'uniform' }],
      stratified: ['strat_uniform', { stratified: true }],
    } as const;
    for (const [name, [input, options]] of Object.entries(times)) {
      const drawn = onDevice(inputs, input);
      const { noisy, losses: lossesOf } = objective({ kind: 'flow', times: options });
      const { x: shown, t } = noisy(x, noise, drawn);
      const losses = lossesOf(dit(weights, config, shown, t, y).output, x, noise, drawn).loss;
      yield against(`forward.${name}.t`, (await t.data()) as Float32Array);
      yield against(`forward.${name}.batchwise_loss`, (await losses.data()) as Float32Array);
      yield against(`forward.${name}.loss`, (await mean(losses, 0).data()) as Float32Array);
    }
    const scale = Number(stated(folder, `flow/${id}.outputs.safetensors`, /guidance scale ([\d.]+)/) ?? 2);
    for (const guided of [true, false]) {
      const steps = outputs.get('sample.cfg')!.shape[0] - 1;
      const states = [await z.data()];
      const clean = [await z.data()];
      const guidedModel = flowModel(classifierFreeGuidance(velocity, { labels: y, nullLabel: nulls, scale: guided ? scale : 1 }));
      for await (const state of sample(guidedModel, z, { solver: 'euler', steps })) {
        states.push(await state.x.data());
        clean.push(await state.clean.data());
      }
      const joined = (parts: ArrayLike<number>[]) => Float32Array.from(parts.flatMap((part) => Array.from(part)));
      yield against(guided ? 'sample.cfg' : 'sample.nocfg', joined(states));
      if (guided) yield against('xps.cfg', joined(clean));
    }
  }
}
