/** Gaussian diffusion with a closed-form toy denoiser: tables, losses and their gradients, sampling loops, bits per dimension. */
import fs from 'node:fs';
import path from 'node:path';
import {
  type BetaSchedule,
  type BetaShape,
  betaSchedule,
  betasBetween,
  bitsPerDimension,
  type DiffusionTables,
  ddim,
  ddimInversion,
  ddpm,
  diffusionLosses,
  diffusionTables,
  GaussianDiffusion,
  type GaussianPrediction,
  LossSecondMomentSampler,
  type LossType,
  priorBits,
  respacedTimesteps,
  type SolverRun,
  type VarianceType,
} from '@dit-moe/diffusion';
import * as tf from '@tensorflow/tfjs-core';
import { type Comparison, check, compare, json, tensors } from './golden.js';
import { onDevice } from './reference-model.js';

export const area = 'dit-moe/diffusion';

const predictions: Record<string, GaussianPrediction> = { EPSILON: 'noise', START_X: 'start', PREVIOUS_X: 'previous' };
// The reference reads LEARNED as LEARNED_RANGE; our `learned` is guided-diffusion's, the log variance itself.
const varianceTypes: Record<string, VarianceType> = {
  LEARNED: 'learned-range',
  LEARNED_RANGE: 'learned-range',
  FIXED_LARGE: 'fixed-large',
  FIXED_SMALL: 'fixed-small',
};
const lossTypes: Record<string, LossType> = { MSE: 'mse', RESCALED_MSE: 'rescaled-mse', KL: 'kl', RESCALED_KL: 'rescaled-kl' };
const camel = (name: string) => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
// Where the layout does not say it, the model learns its variance.
const learned = ({ varianceType = 'learned-range' }: GaussianDiffusion) => varianceType.startsWith('learned');
const values = async (tensor: tf.Tensor) => (await tensor.data()) as Float32Array;

export async function* run(folder: string): AsyncGenerator<Comparison> {
  const tolerances = json(path.join(folder, 'tolerances.json'));
  const open = (name: string) => tensors(path.join(folder, `${name}.safetensors`));
  const float64 = (file: string, name: string, actual: ArrayLike<number>, expected: ArrayLike<number>) =>
    compare(`${file}/${name}`, actual, expected, { atol: 0, rtol: tolerances[`${file}.safetensors`]?.[name]?.rtol ?? 1e-10 });

  // Tables
  const tableOf = (tables: DiffusionTables, name: string) => tables[camel(name) as keyof DiffusionTables];
  for (const found of fs.readdirSync(folder).sort()) {
    const match = /^(tables_(.+)_T(\d+))\.safetensors$/.exec(found);
    if (match === null) continue;
    const tables = diffusionTables(betaSchedule(match[2] as BetaSchedule, Number(match[3])));
    for (const [name, { data }] of open(match[1])) yield float64(match[1], name, tableOf(tables, name), data as Float64Array);
  }
  const betas = open('betas_other');
  // Where they begin and end is said by the straight line.
  const line = betas.get('linear.betas')!.data as Float64Array;
  for (const [name, { data, shape }] of betas) {
    const found = betasBetween(name.split('.')[0] as BetaShape, line[0], line.at(-1)!, shape[0]);
    yield float64('betas_other', name, found, data as Float64Array);
  }
  for (const { num_timesteps, spec, timesteps, error } of json(path.join(folder, 'respacing.json')))
    if (error)
      yield check(
        `respacing ${spec} of ${num_timesteps}`,
        refuses(() => respacedTimesteps(num_timesteps, spec)),
      );
    else yield compare(`respacing ${spec} of ${num_timesteps}`, respacedTimesteps(num_timesteps, spec), timesteps, { rtol: 0 });
  const toy = json(path.join(folder, 'toy.json'));
  const recorded = open('inputs');
  // The process with all its steps is called by their number.
  const full = [...recorded.keys()].find((name) => /^t_T\d+$/.test(name))!;
  const schedules = { steps: Number(full.slice('t_T'.length)) };
  const main = { ...schedules, schedule: toy.main_schedule as BetaSchedule };
  for (const [name, { data }] of open('respaced_tables')) {
    const [spacing, table] = name.split('/') as [string, string];
    yield float64('respaced_tables', name, tableOf(new GaussianDiffusion({ ...main, spacing }).tables, table), data as Float64Array);
  }
  yield* resampler(json(path.join(folder, 'loss_second_moment_resampler.json')));

  // The toy denoiser
  const input = (name: string) => onDevice(recorded, name);
  const channels = toy.shape[1] as number;
  const predict = (x: tf.Tensor, t: tf.Tensor, constants: Record<string, tf.Tensor | number>, learned: boolean) =>
    tf.tidy(() => {
      const column = (z: tf.Tensor) => tf.reshape(z, [-1, 1, 1, 1]);
      const index = tf.reshape(tf.range(0, channels, 1), [1, -1, 1, 1]);
      const mean = tf.add(tf.add(tf.mul(constants.a, x), tf.mul(constants.b, column(tf.sin(tf.div(t, 100))))), tf.mul(constants.d, index));
      if (!learned) return mean;
      return tf.concat([mean, tf.add(tf.mul(constants.c, tf.tanh(x)), tf.mul(constants.e, column(tf.cos(tf.div(t, 50)))))], 1);
    });
  const constantsOf = (meanType: string): Record<string, number> => (meanType === 'START_X' ? toy.constants_start_x : toy.constants);
  const denoiser = (diffusion: GaussianDiffusion, meanType = 'EPSILON') => {
    return (x: tf.Tensor, t: tf.Tensor) => predict(x, t, constantsOf(meanType), learned(diffusion));
  };
  const process = (name: string, meanType = 'EPSILON', varianceType = 'LEARNED_RANGE') =>
    new GaussianDiffusion({
      ...main,
      ...(name === 'respaced' && { spacing: toy.loss_respacing }),
      prediction: predictions[meanType],
      varianceType: varianceTypes[varianceType],
    });
  const steps = (name: string) => (recorded.has(`t_${name}`) ? input(`t_${name}`) : input(full));
  const against = (file: string, expected: Map<string, { data: unknown }>) => (name: string, actual: ArrayLike<number>) =>
    compare(`${file}/${name}`, actual, expected.get(name)!.data as Float32Array, {
      atol: tolerances[`${file}.safetensors`][name].atol,
      rtol: tolerances[`${file}.safetensors`][name].rtol,
    });
  const [clean, noise, xt] = [input('x_start'), input('noise'), input('x_t')];

  // Forward process
  const q = open('q');
  const q32 = against('q', q);
  for (const name of q.keys()) {
    const [kind, ...rest] = name.split('.') as [string, ...string[]];
    const diffusion = process(kind);
    const t = steps(kind);
    const field = camel(rest.at(-1)!.replace('_clipped', ''));
    const full = (z: tf.Tensor) => tf.add(tf.zerosLike(clean), z);
    const compute: Record<string, () => tf.Tensor> = {
      q_sample: () => diffusion.addNoise(clean, t, noise),
      q_mean_variance: () => full(diffusion.marginal(clean, t)[field as 'mean']),
      q_posterior: () => full(diffusion.posterior(clean, xt, t)[field as 'mean']),
      predict_xstart_from_eps: () => diffusion.cleanFromNoise(xt, t, noise),
      predict_eps_from_xstart: () => diffusion.noiseFromClean(xt, t, clean),
      prior_bpd: () => priorBits(diffusion, clean),
    };
    yield q32(name, await values(tf.tidy(compute[rest[0]])));
  }

  // Reverse steps
  const reverse = open('p_mean_variance');
  for (const name of reverse.keys()) {
    const [kind, meanType, varianceType, clip, field] = name.split('/') as [string, string, string, string, string];
    const diffusion = process(kind, meanType, varianceType);
    const t = steps(kind);
    const result = tf.tidy(() => {
      const output = denoiser(diffusion, meanType)(xt, diffusion.modelTimes(t, xt.shape[0]));
      const step = diffusion.reverseStep(output, xt, t, { clip: clip === 'clip' });
      return tf.add(tf.zerosLike(xt), { mean: step.mean, log_variance: step.logVariance, pred_xstart: step.clean }[field]!);
    });
    yield against('p_mean_variance', reverse)(name, await values(result));
  }

  // Losses and gradients
  const losses = open('training_losses');
  const combinations = new Set([...losses.keys()].map((name) => name.slice(0, name.lastIndexOf('/'))));
  for (const prefix of combinations) {
    const [kind, meanType, varianceType, type] = prefix.split('/') as [string, string, string, string];
    const diffusion = process(kind, meanType, varianceType);
    const t = steps(kind);
    const names = learned(diffusion) ? ['a', 'b', 'd', 'c', 'e'] : ['a', 'b', 'd'];
    const lossOf = (...constants: tf.Tensor[]) => {
      const x = diffusion.addNoise(clean, t, noise);
      const named = Object.fromEntries(names.map((name, i) => [name, constants[i]]));
      const output = predict(x, diffusion.modelTimes(t, x.shape[0]), named, learned(diffusion));
      return diffusionLosses(diffusion, output, clean, t, noise, lossTypes[type]);
    };
    const constants = names.map((name) => tf.scalar(constantsOf(meanType)[name]));
    const found = tf.tidy(() => lossOf(...constants) as unknown as tf.NamedTensorMap);
    for (const term of ['loss', 'mse', 'vb'])
      if (losses.has(`${prefix}/${term}`)) yield against('training_losses', losses)(`${prefix}/${term}`, await values(found[term]));
    if (!losses.has(`${prefix}/grad`)) continue;
    const gradients = tf.tidy(() => tf.stack(tf.grads((...c: tf.Tensor[]) => tf.mean(lossOf(...c).loss))(constants)));
    yield against('training_losses', losses)(`${prefix}/grad`, await values(gradients));
  }

  // Sampling
  const collect = async (run: SolverRun) => {
    const states = { sample: [] as number[], pred_xstart: [] as number[] };
    for await (const { x, clean: predicted } of run) {
      states.sample.push(...(await values(x)));
      states.pred_xstart.push(...(await values(predicted)));
    }
    return states;
  };
  const slices = (name: string) => {
    const all = input(name);
    return (step: number) => tf.squeeze(tf.slice(all, [step, ...Array(all.rank - 1).fill(0)], [1, ...all.shape.slice(1)]), [0]);
  };
  const start = input('x_T');
  const ancestral = open('p_sample_loop');
  for (const prefix of new Set([...ancestral.keys()].map((name) => name.slice(0, name.lastIndexOf('/'))))) {
    const [schedule, varianceType, clip] = prefix.split('/') as [BetaSchedule, string, string];
    const diffusion = new GaussianDiffusion({
      ...schedules,
      schedule,
      spacing: toy.loop_respacing,
      varianceType: varianceTypes[varianceType],
    });
    const states = await collect(ddpm(diffusion, denoiser(diffusion), start, { noise: slices('p_noises'), clip: clip === 'clip' }));
    for (const field of ['sample', 'pred_xstart'] as const)
      if (ancestral.has(`${prefix}/${field}`)) yield against('p_sample_loop', ancestral)(`${prefix}/${field}`, states[field]);
  }
  const implicit = open('ddim');
  for (const prefix of new Set([...implicit.keys()].map((name) => name.slice(0, name.lastIndexOf('/'))))) {
    const [schedule, kind, clip] = prefix.split('/') as [BetaSchedule, string, string];
    const diffusion = new GaussianDiffusion({ ...schedules, schedule, spacing: toy.ddim_respacing });
    const options = { clip: clip === 'clip', eta: Number(kind.slice(3)), noise: slices('ddim_noises') };
    const states = await collect(
      kind === 'reverse'
        ? ddimInversion(diffusion, denoiser(diffusion), clean, { clip: clip === 'clip' })
        : ddim(diffusion, denoiser(diffusion), start, options),
    );
    for (const field of ['sample', 'pred_xstart'] as const)
      if (implicit.has(`${prefix}/${field}`)) yield against('ddim', implicit)(`${prefix}/${field}`, states[field]);
  }

  // Conditioning
  const conditioned = against('conditioning', open('conditioning'));
  const gradient = (x: tf.Tensor, t: tf.Tensor) =>
    tf.tidy(() => tf.mul(tf.mul(-0.5, tf.sub(x, 0.25)), tf.reshape(tf.add(1, tf.div(t, 1000)), [-1, 1, 1, 1])));
  const loops = new GaussianDiffusion({ ...main, spacing: toy.loop_respacing });
  const implicitLoops = new GaussianDiffusion({ ...main, spacing: toy.ddim_respacing });
  const guided = await collect(ddpm(loops, denoiser(loops), start, { noise: slices('p_noises'), clip: true, gradient }));
  yield conditioned('p_sample_loop.sample', guided.sample);
  yield conditioned(
    'ddim_eta0.sample',
    (await collect(ddim(implicitLoops, denoiser(implicitLoops), start, { clip: true, gradient }))).sample,
  );
  const transform = (x: tf.Tensor) => tf.tanh(tf.mul(0.8, x));
  const transformed = await collect(ddpm(loops, denoiser(loops), start, { noise: slices('p_noises'), clip: true, transform }));
  yield conditioned('denoised_fn.sample', transformed.sample.slice(-start.size));

  // Bits per dimension
  const bits = open('bpd');
  for (const prefix of new Set([...bits.keys()].map((name) => name.slice(0, name.lastIndexOf('/'))))) {
    const [schedule, meanType, varianceType] = prefix.split('/') as [BetaSchedule, string, string];
    const diffusion = new GaussianDiffusion({
      ...schedules,
      schedule,
      spacing: toy.bpd_respacing,
      prediction: predictions[meanType],
      varianceType: varianceTypes[varianceType],
    });
    const found = await bitsPerDimension(diffusion, denoiser(diffusion, meanType), clean, slices('bpd_noises'), { clip: true });
    const terms = { total_bpd: found.total, prior_bpd: found.prior, vb: found.terms, xstart_mse: found.cleanError, mse: found.noiseError };
    for (const [term, tensor] of Object.entries(terms)) yield against('bpd', bits)(`${prefix}/${term}`, await values(tensor));
  }
}

async function* resampler(golden: ReturnType<typeof json>): AsyncGenerator<Comparison> {
  const sampler = new LossSecondMomentSampler(golden.num_timesteps, golden.history_per_term, golden.uniform_prob);
  for (const [i, { t, loss }] of golden.events.entries()) {
    sampler.update(t, loss);
    for (const state of golden.states.filter((s: { after_event: number }) => s.after_event === i + 1))
      yield compare(`resampler/weights after event ${i + 1}`, sampler.weights(), state.weights, { rtol: 1e-12 });
  }
  for (const [t, losses] of golden.loss_history.entries())
    yield compare(`resampler/history of ${t}`, sampler.lossHistory[t], losses, { rtol: 0 });
}

function refuses(work: () => unknown): boolean {
  try {
    work();
    return false;
  } catch {
    return true;
  }
}
