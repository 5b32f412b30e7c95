import { ArgumentError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  betaSchedule,
  betasBetween,
  bitsPerDimension,
  ddim,
  ddimInversion,
  ddpm,
  diffusionLosses,
  diffusionTables,
  finish,
  GaussianDiffusion,
  LossSecondMomentSampler,
  minSnrWeights,
  respacedTimesteps,
} from './index.js';
import { normalKl } from './likelihood.js';
import { respacedBetas } from './respacing.js';

beforeAll(() => tf.setBackend('cpu'));

const betas = betaSchedule('linear', 1000);
const values = (n: number, seed: number) => Float32Array.from({ length: n }, (_, i) => Math.sin(seed * 5.1 + i * 2.3));
const batch = (seed: number) => tf.tensor4d(values(2 * 3 * 2 * 2, seed), [2, 3, 2, 2]);

describe('schedules and respacing', () => {
  test.each(['linear', 'quad', 'warmup10', 'warmup50', 'const', 'jsd', 'cosine'] as const)('%s gives betas in (0, 1]', (name) => {
    const made = name === 'cosine' ? betaSchedule(name, 50) : betasBetween(name, 1e-4, 0.02, 50);
    expect(made.length).toBe(50);
    expect(made.every((b) => b > 0 && b <= 1)).toBe(true);
  });

  test('a respaced process has the same alphas at the timesteps it keeps', () => {
    const kept = respacedTimesteps(1000, '10,15,20');
    expect(kept.length).toBe(45);
    const all = diffusionTables(betas);
    const few = diffusionTables(respacedBetas(all.alphasCumprod, kept));
    for (const [i, t] of kept.entries()) expect(few.alphasCumprod[i]).toBeCloseTo(all.alphasCumprod[t], 12);
  });

  test('ddim strides start at 0; halves round to even', () => {
    expect(respacedTimesteps(1000, 'ddim50').slice(0, 3)).toEqual([0, 20, 40]);
    expect(respacedTimesteps(6, '3')).toEqual([0, 2, 5]);
  });

  test.each(['', '1001', 'ddim300', '400,400,400', 'ten', '5,', '-3'])('"%s" is refused', (spec) => {
    expect(() => respacedTimesteps(1000, spec)).toThrow(/spacing/);
    expect(() => respacedTimesteps(1000, spec)).toThrow(ArgumentError);
  });

  test('impossible betas and steps are refused', () => {
    expect(() => betaSchedule('linear', 0)).toThrow(/steps/);
    expect(() => diffusionTables(Float64Array.of(0.1, 1.5))).toThrow(/betas/);
  });
});

describe('a model that knows the truth', () => {
  const diffusion = new GaussianDiffusion({ spacing: '20', varianceType: 'fixed-small' });
  const clean = () => batch(1);
  /** The exact noise for data that is always `clean`. */
  const model = (x: tf.Tensor, time: tf.Tensor) =>
    tf.tidy(() => diffusion.noiseFromClean(x, tf.fill([2], diffusion.timesteps.indexOf(time.dataSync()[0]), 'int32'), clean()));

  test.each(['ddpm', 'ddim'] as const)('%s leads to the data and leaves no tensor', async (method) => {
    const start = batch(9);
    const before = tf.memory().numTensors;
    const fresh = (step: number) => batch(step + 10);
    const run =
      method === 'ddpm' ? ddpm(diffusion, model, start, { noise: fresh }) : ddim(diffusion, model, start, { eta: 0.5, noise: fresh });
    const end = await finish(run);
    const found = await end.data();
    end.dispose();
    expect(tf.memory().numTensors).toBe(before);
    for (const [i, x] of found.entries()) expect(x).toBeCloseTo(values(24, 1)[i], 4);
  });

  test.each(['ddpm', 'ddim'] as const)(
    '%s: the model’s output may itself be the clean sample or the result, and states live',
    async (method) => {
      const given = batch(1);
      const before = tf.memory().numTensors;
      for (const prediction of ['start', 'previous'] as const) {
        const process = new GaussianDiffusion({ prediction, varianceType: 'fixed-large', spacing: '5' });
        const options = { noise: (step: number) => batch(step + 10) };
        const run = (method === 'ddpm' ? ddpm : ddim)(process, () => given.clone(), given, options);
        const end = await finish(run, async ({ x, clean: predicted }) => {
          expect((await x.data()).length).toBe(24);
          const shown = await predicted.data();
          if (prediction === 'start') expect([...shown]).toEqual([...values(24, 1)]);
        });
        if (prediction === 'previous' && method === 'ddpm') expect([...(await end.data())]).toEqual([...values(24, 1)]);
        end.dispose();
      }
      expect(tf.memory().numTensors).toBe(before);
    },
  );

  test('its losses vanish, and so do all terms of its bound but the first step', async () => {
    const { loss } = diffusionLosses(diffusion, batch(3), clean(), tf.tensor1d([7, 19], 'int32'), batch(3));
    expect(Math.max(...(await loss.data()))).toBe(0);
    const before = tf.memory().numTensors;
    const data = clean();
    const bits = await bitsPerDimension(diffusion, model, data, (step) => batch(step + 2));
    const terms = (await bits.terms.array()) as number[][];
    for (const row of terms) for (const term of row.slice(0, -1)) expect(Math.abs(term)).toBeLessThan(1e-3);
    tf.dispose([data, ...Object.values(bits)]);
    expect(tf.memory().numTensors).toBe(before);
  });

  test('inversion and sampling without noise cancel', async () => {
    const fine = new GaussianDiffusion({ varianceType: 'fixed-small', steps: 400 });
    /** Exact for standard normal data. */
    const still = (x: tf.Tensor, time: tf.Tensor) => tf.tidy(() => tf.mul(x, fine.tables.sqrtOneMinusAlphasCumprod[time.dataSync()[0]]));
    const noise = await finish(ddimInversion(fine, still, clean()));
    const back = await finish(ddim(fine, still, noise));
    const found = await back.data();
    for (const [i, x] of found.entries()) expect(Math.abs(x - values(24, 1)[i])).toBeLessThan(0.02);
  });
});

test('the variational term trains the variance only', () => {
  const diffusion = new GaussianDiffusion();
  const t = tf.tensor1d([3, 500], 'int32');
  const [clean, noise] = [batch(1), batch(2)];
  const gradient = tf.grad((output) => tf.sum(diffusionLosses(diffusion, output, clean, t, noise).vb!));
  const [mean, variance] = tf.split(gradient(tf.concat([batch(4), batch(5)], 1)), 2, 1) as [tf.Tensor, tf.Tensor];
  expect(tf.max(tf.abs(mean)).dataSync()[0]).toBe(0);
  expect(tf.min(tf.abs(variance)).dataSync()[0]).toBeGreaterThan(0);
});

test('the divergence of Gaussians is the closed form, and 0 for equal ones', async () => {
  const kl = (await normalKl(tf.scalar(1), tf.scalar(Math.log(4)), tf.scalar(0), tf.scalar(0)).data())[0];
  expect(kl).toBeCloseTo(0.5 * (4 - 1 - Math.log(4) + 1), 5);
  expect((await normalKl(tf.scalar(3), tf.scalar(-2), tf.scalar(3), tf.scalar(-2)).data())[0]).toBe(0);
});

test('timesteps with larger losses are drawn more often, and weigh less', () => {
  const sampler = new LossSecondMomentSampler(3, 2, 0.01);
  expect([...sampler.weights()]).toEqual([1, 1, 1]);
  sampler.update([0, 0, 1, 1, 2, 2], [1, 1, 1, 1, 4, 4]);
  expect(sampler.weights()[2]).toBeCloseTo(0.99 * (4 / 6) + 0.01 / 3, 12);
  const { timesteps, weights } = sampler.sample([0, 0.99]);
  expect([...timesteps]).toEqual([0, 2]);
  expect(weights[0]).toBeGreaterThan(1);
  expect(weights[1]).toBeLessThan(1);
  expect(() => sampler.update([3], [1])).toThrow(/timestep/);
});

test('a sampler of timesteps goes on from the history of another, which then changes without it', () => {
  const [first, second] = [new LossSecondMomentSampler(2, 2), new LossSecondMomentSampler(2, 2)];
  first.update([0, 0, 1, 1], [1, 2, 3, 4]);
  second.restore(first.lossHistory);
  expect(second.weights()).toEqual(first.weights());
  first.update([0], [9]);
  expect(second.lossHistory).toEqual([
    [1, 2],
    [3, 4],
  ]);
  expect(() => second.restore([[1]])).toThrow(/2 lists of at most 2 losses/);
  expect(() => second.restore([[], [1, 2, 3]])).toThrow(/at most 3/);
});

test('min-SNR weights limit the weight of nearly clean samples', () => {
  const diffusion = new GaussianDiffusion({ prediction: 'noise' });
  const weights = minSnrWeights(diffusion);
  const { alphasCumprod } = diffusion.tables;
  for (const t of [0, 300, 999]) {
    const snr = alphasCumprod[t] / (1 - alphasCumprod[t]);
    expect(weights[t]).toBeCloseTo(Math.min(1, 5 / snr), 12);
  }
});

test('times outside the schedule are refused', () => {
  const diffusion = new GaussianDiffusion({ spacing: '20' });
  for (const t of [-1, 20, 1.5]) expect(() => diffusion.addNoise(batch(1), t, batch(2))).toThrow(/\[0, 20\)/);
  expect(() => diffusion.addNoise(batch(1), tf.tensor1d([3, 20], 'int32'), batch(2))).toThrow(/times in \[0, 19\], found 20/);
  expect(() => diffusion.modelTimes(tf.tensor1d([-1, 2], 'int32'), 2)).toThrow(/found -1/);
});

test('without a word about it, a variance is learned if the output has twice the channels', () => {
  const t = tf.tensor1d([3, 500], 'int32');
  const [plain, doubled] = [batch(1), tf.concat([batch(1), batch(4)], 1)];
  for (const [output, varianceType] of [
    [plain, 'fixed-large'],
    [doubled, 'learned-range'],
  ] as const) {
    const [found, told] = [new GaussianDiffusion(), new GaussianDiffusion({ varianceType })].map((d) => d.reverseStep(output, batch(2), t));
    for (const field of ['mean', 'logVariance', 'variance', 'clean'] as const)
      expect([...found[field].dataSync()]).toEqual([...told[field].dataSync()]);
  }
});

test('words are checked, and the nearest known one is named', () => {
  expect(() => new GaussianDiffusion({ varianceType: 'fixedSmall' as 'fixed-small' })).toThrow(/varianceType.*Did you mean fixed-small\?/);
  expect(() => new GaussianDiffusion({ prediction: 'epsilon' as 'noise' })).toThrow(/prediction: expected noise, start, v, previous/);
  expect(() => betaSchedule('linaer' as 'linear', 10)).toThrow(/Did you mean linear\?/);
});

test('mismatched shapes are refused by name', () => {
  const diffusion = new GaussianDiffusion();
  expect(() => diffusion.reverseStep(tf.zeros([2, 4, 2, 2]), batch(2), tf.tensor1d([1, 2], 'int32'))).toThrow(/\[2,3,2,2\] or \[2,6,2,2\]/);
  expect(() => diffusion.addNoise(batch(1), tf.tensor1d([1], 'int32'), batch(2))).toThrow(/t \[2\]/);
});
