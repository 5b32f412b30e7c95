/** Whole training runs with recorded data, noise, times and labels: losses, gradient norms, final weights and averages. */
import path from 'node:path';
import { type BetaSchedule, objective, type VarianceType } from '@dit-moe/diffusion';
import { dit } from '@dit-moe/dit';
import { AdamW, compile, Ema, globalNorm, mean, Parameter, ParameterSet, valueAndGrads } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type Comparison, check, compare, instances, json, tensors } from './golden.js';
import { asReference, readModel } from './reference-model.js';

export const area = 'dit-moe/training';

export async function* run(folder: string, root: string): AsyncGenerator<Comparison> {
  for (const instance of instances(folder, 'trajectory.json', root)) {
    const id = path.basename(instance);
    const facts = json(path.join(instance, 'trajectory.json'));
    const inputs = tensors(path.join(instance, 'inputs.safetensors'));
    const flow = inputs.has('t_normal');
    const [, schedule, steps, varianceType] = /^ddpm-(.+)-(\d+)-([a-z-]+)$/.exec(facts.objective) ?? [];
    if (!flow && schedule === undefined) {
      yield check(`${id}/objective`, false, `not understood: ${facts.objective}`);
      continue;
    }
    const goal = objective(
      flow
        ? { kind: 'flow' }
        : { kind: 'ddpm', schedule: schedule as BetaSchedule, steps: Number(steps), varianceType: varianceType as VarianceType },
    );
    const model = await readModel(path.join(folder, '../model', facts.model));
    const { config } = model;
    const parameters = new ParameterSet(
      Object.fromEntries(Object.entries(model.weights).map(([name, tensor]) => [name, new Parameter(name, tensor)])),
    );
    const [beta1, beta2] = facts.betas;
    const optimizer = new AdamW(parameters.parameters, { beta1, beta2, epsilon: facts.eps, weightDecay: facts.weight_decay });
    const ema = new Ema(parameters.parameters, facts.ema_decay);
    const step = compile((x: tf.Tensor, noise: tf.Tensor, time: tf.Tensor, y: tf.Tensor) => {
      const weights = parameters.read();
      const { grads, extra } = valueAndGrads(
        () => {
          const { x: shown, t } = goal.noisy(x, noise, time);
          const { output, losses } = dit(weights, config, shown, t, y);
          const means = Object.fromEntries(
            Object.entries(goal.losses(output, x, noise, time)).map(([name, values]) => [name, mean(values, 0)]),
          );
          const loss = means['loss'];
          const aux = tf.mul(losses['balance'], facts.aux_loss_alpha);
          return { loss: tf.add(loss, aux), extra: { ...means, aux } as Record<string, tf.Tensor> };
        },
        weights,
        { allowZeros: true },
      );
      const norm = globalNorm(grads);
      optimizer.apply(grads, facts.lr);
      ema.update();
      return { ...extra, grad_norm: norm };
    });
    const at = (name: string, i: number) => {
      const { shape, data } = inputs.get(name)!;
      const size = data.length / shape[0];
      return (data as Float32Array).slice(i * size, (i + 1) * size);
    };
    const series: Record<string, number[]> = {};
    for (let i = 0; i < facts.steps; i++) {
      const labels = Int32Array.from(at('y', i), (label, b) => (at('drop_mask', i)[b] ? facts.null_label : label));
      const shape = inputs.get('x')!.shape.slice(1);
      const result = await step.run(
        tf.tensor(at('x', i), shape),
        tf.tensor(at('noise', i), shape),
        flow ? tf.tensor1d(at('t_normal', i)) : tf.tensor1d(Int32Array.from(at('t', i)), 'int32'),
        tf.tensor1d(labels, 'int32'),
      );
      for (const [name, value] of Object.entries(result)) {
        series[name] ??= [];
        series[name].push((await value.data())[0]);
      }
    }
    // A term that an objective does not have is zero there, such as the variational one of flows.
    for (const [name, expected] of Object.entries(facts.losses_f32))
      yield compare(`${id}/${name}`, series[name] ?? (expected as number[]).map(() => 0), expected as number[], {
        atol: facts.atol[name],
      });
    const [weights, averages] = [await asReference(model, parameters.read()), await asReference(model, ema.averages.read())];
    for (const [name, { data }] of tensors(path.join(instance, 'final.safetensors'))) {
      const [, kind, theirs] = /^(weights|ema)\.(.+)$/.exec(name)!;
      const ours = (kind === 'ema' ? averages : weights).get(theirs)!;
      yield compare(`${id}/${name}`, ours, data as Float32Array, { atol: facts.atol[kind] });
    }
  }
}
