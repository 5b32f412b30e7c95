/** What all solvers promise beside their order: samples independent of their batch, presets, guidance by a classifier. */
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { difference, exactFlow, exactGaussian, MEANS, normalPoints } from '../../test/mixture.js';
import {
  type DiffusionModel,
  ddim,
  ddpm,
  every,
  finish,
  flowModel,
  GaussianDiffusion,
  gaussianModel,
  gaussianPath,
  objective,
  presets,
  type SolverName,
  type SolverState,
  sample,
  solvers,
  stepNoise,
} from '../index.js';

beforeAll(() => tf.setBackend('cpu'));

const points = (count: number) => tf.tensor2d(Float32Array.from(normalPoints(count)), [count, 2]);

const names = (Object.keys(solvers) as SolverName[]).filter((name) => name !== 'dopri5');
test.each(names)('%s: a sample does not depend on its batch', async (solver) => {
  const start = points(6);
  const run = async (indices: number[]) => {
    const noise = stepNoise(5, indices, [2]);
    const own = tf.gather(start, indices);
    return [...(await (await finish(sample(exactFlow(), own, { solver, steps: 8, noise }))).data())];
  };
  const all = await run([0, 1, 2, 3, 4, 5]);
  const some = await run([4, 1]);
  expect(difference(some, [...all.slice(8, 10), ...all.slice(2, 4)])).toBeLessThan(1e-6);
});

describe('Gaussian models', () => {
  test('the presets are the reference’s loops', async () => {
    expect(presets.ddpm).toEqual({ solver: 'ddpm', steps: 250 });
    const model = exactGaussian();
    const noise = stepNoise(1, [0, 1, 2], [2]);
    const same = async (run: ReturnType<typeof sample>, reference: ReturnType<typeof sample>) =>
      expect(difference(await (await finish(run)).data(), await (await finish(reference)).data())).toBe(0);
    const process = (spacing: string) => new GaussianDiffusion({ spacing });
    await same(sample(model, points(3), { solver: 'ddpm', steps: 20, noise }), ddpm(process('20'), model.denoiser, points(3), { noise }));
    await same(sample(model, points(3), { solver: 'ddim', spacing: 'ddim20' }), ddim(process('ddim20'), model.denoiser, points(3)));
  });

  test('every prediction leads to the same samples', async () => {
    const end = async (model: DiffusionModel) => (await finish(sample(model, points(32), { solver: 'dpm++2m', steps: 12 }))).data();
    const expected = await end(exactGaussian());
    for (const prediction of ['start', 'v'] as const)
      expect(difference(await end(exactGaussian({ prediction, varianceType: 'fixed-small' })), expected)).toBeLessThan(1e-3);
  });

  test('the path tells trained timesteps exactly', () => {
    const path = gaussianPath(new GaussianDiffusion());
    const times = path.uniform(10).map((t) => path.level(t).time);
    expect(times).toEqual([999, 888, 777, 666, 555, 444, 333, 222, 111, 0]);
    expect(path.level(path.start).sigma ** 2).toBeCloseTo(1 - new GaussianDiffusion().tables.alphasCumprod[999], 12);
  });

  test('a model of the previous step’s mean is served by its own samplers only', async () => {
    const model = gaussianModel((x) => tf.mul(x, 0.9), { prediction: 'previous', steps: 50 });
    expect((await finish(sample(model, points(2), { solver: 'ddim', steps: 10 }))).shape).toEqual([2, 2]);
    await expect(finish(sample(model, points(2), { solver: 'euler', steps: 5 }))).rejects.toThrow(/ddpm or ddim/);
  });
});

test.each(['ddpm', 'ddim', 'dpm++2m', 'euler-maruyama'] as const)(
  '%s with the gradient of a classifier samples its class',
  async (solver) => {
    // log p(first component | x) for the noisy mixture; its gradient is the pull to the component against that of the mixture.
    const gradient: DiffusionModel['denoiser'] = (x, _t, { alpha, sigma }) =>
      tf.tidy(() => {
        const variance = (alpha * 0.3) ** 2 + sigma ** 2;
        const offsets = MEANS.map((mean) => tf.sub(x, tf.mul(tf.tensor1d([...mean]), alpha)));
        const logits = offsets.map((offset) => tf.div(tf.sum(tf.square(offset), 1), -2 * variance));
        const share = tf.softmax(tf.stack(logits, 1));
        const mixed = tf.sum(
          tf.stack(
            offsets.map((offset, k) => tf.mul(offset, tf.slice(share, [0, k], [-1, 1]))),
            0,
          ),
          0,
        );
        return tf.div(tf.sub(mixed, offsets[0]), variance);
      });
    const noise = stepNoise(
      2,
      Array.from({ length: 64 }, (_, i) => i),
      [2],
    );
    for (const model of [exactFlow(), exactGaussian({ varianceType: 'fixed-small' })]) {
      const end = await (await finish(sample(model, points(64), { solver, steps: 40, noise, gradient }))).data();
      const distances = Array.from({ length: 64 }, (_, i) => Math.hypot(end[2 * i] - MEANS[0][0], end[2 * i + 1] - MEANS[0][1]));
      // All within five standard deviations of the component, whose neighbours are six and a half away.
      expect(distances.filter((d) => d > 1.5).length).toBeLessThanOrEqual(solver === 'ddpm' ? 3 : 1);
    }
  },
);

describe('progress', () => {
  const still = flowModel((x) => tf.zerosLike(x));

  test('every step is seen once, its clean sample is the prediction, and nothing is kept', async () => {
    const start = points(2);
    const before = tf.memory().numTensors;
    const seen: SolverState[] = [];
    const end = await finish(sample(still, start, { solver: 'heun', steps: 6 }), (state) => {
      seen.push({ ...state });
      expect(state.clean.dataSync()[0]).toBeCloseTo(start.dataSync()[0], 6);
      expect(tf.memory().numTensors).toBeLessThanOrEqual(before + 2);
    });
    end.dispose();
    expect(seen.map(({ step, steps }) => `${step}/${steps}`)).toEqual(['1/6', '2/6', '3/6', '4/6', '5/6', '6/6']);
    expect(seen.at(-1)!.time).toBe(0);
    const failing = finish(sample(still, start, { solver: 'heun', steps: 6 }), () => Promise.reject(new Error('disk full')));
    await expect(failing).rejects.toThrow('disk full');
    expect(tf.memory().numTensors).toBe(before);
  });

  test('previews of every n-th step and the last, whatever the solver, and the sample is the same', async () => {
    const start = points(2);
    const before = tf.memory().numTensors;
    for (const [solver, expected] of [
      ['euler', [3, 6, 7]],
      ['ddpm', [3, 6, 7]],
    ] as const) {
      const options = { solver, steps: 7, noise: stepNoise(1, [0, 1], [2]) };
      const seen: number[] = [];
      const end = await finish(every(3, sample(exactFlow(), start, options)), ({ step }) => void seen.push(step));
      const all = await finish(sample(exactFlow(), start, options));
      expect(seen).toEqual(expected);
      expect([...end.dataSync()]).toEqual([...all.dataSync()]);
      tf.dispose([end, all]);
    }
    // The adaptive solver does not know how many steps there will be.
    const seen: SolverState[] = [];
    for await (const state of every(2, sample(exactFlow(), start, { solver: 'dopri5' }))) seen.push({ ...state });
    expect(seen.length).toBeGreaterThan(1);
    for (const { step } of seen.slice(0, -1)) expect(step % 2).toBe(0);
    expect(seen.at(-1)!.time).toBe(0);
    for await (const _ of every(2, sample(still, start, { solver: 'unipc', steps: 7 }))) break;
    await expect(every(0, sample(still, start, { solver: 'euler' })).next()).rejects.toThrow(/every: n/);
    // `for await` drops what a run returns, here that of dopri5.
    expect(tf.memory().numTensors).toBe(before + 1);
  });

  test('a run stops between two steps when its signal says so, and frees everything', async () => {
    const start = points(2);
    const before = tf.memory().numTensors;
    for (const solver of Object.keys(solvers) as SolverName[]) {
      const stop = new AbortController();
      let steps = 0;
      const run = sample(exactFlow(), start, { solver, steps: 9, signal: stop.signal, noise: stepNoise(1, [0, 1], [2]) });
      const ended = finish(run, () => {
        if (++steps === 2) stop.abort(new Error('enough'));
      });
      await expect(ended).rejects.toThrow('enough');
      expect(steps).toBe(2);
    }
    expect(tf.memory().numTensors).toBe(before);
  });
});

test('dopri5 shares its steps: alone a sample depends on nothing, in a batch on the others within the tolerance', async () => {
  const start = points(16);
  const run = async (indices: number[]) => [
    ...(await (await finish(sample(exactFlow(), tf.gather(start, indices), { solver: 'dopri5' }))).data()),
  ];
  const all = await run(Array.from({ length: 16 }, (_, i) => i));
  for (const index of [0, 7]) {
    const alone = await run([index]);
    expect(await run([index])).toEqual(alone);
    // Three times the default absolute tolerance and relative tolerance.
    expect(difference(alone, all.slice(2 * index, 2 * index + 2))).toBeLessThan(3.3e-3);
  }
});

describe('objectives', () => {
  const clean = () => tf.tensor2d([1, 2, 3, 4], [2, 2]);
  const noise = () => tf.tensor2d([0.5, -1, 0, 2], [2, 2]);
  const batch = { seed: 3, purpose: 'time', indices: [0, 1] };

  test('flow: what is shown, told and lost fits together', () => {
    const { draw, noisy, losses } = objective({ kind: 'flow', times: { distribution: 'uniform' } });
    const drawn = draw(batch);
    const { x, t } = noisy(clean(), noise(), drawn);
    expect([...t.dataSync()]).toEqual([...drawn.dataSync()]);
    const velocity = tf.div(tf.sub(x, clean()), tf.reshape(t, [-1, 1]));
    for (const loss of losses(velocity, clean(), noise(), drawn).loss.dataSync()) expect(loss).toBeCloseTo(0, 8);
  });

  test('ddpm: the perfect model of noise, clean sample and v has no loss; min-SNR weighs the error', () => {
    for (const prediction of ['noise', 'start', 'v', 'previous'] as const) {
      const { draw, noisy, losses, learnsVariance } = objective({ kind: 'ddpm', prediction, varianceType: 'fixed-small' });
      expect(learnsVariance).toBe(false);
      const drawn = draw(batch);
      const { x } = noisy(clean(), noise(), drawn);
      const target = new GaussianDiffusion({ prediction }).target(clean(), x, drawn, noise());
      expect(Math.max(...losses(target, clean(), noise(), drawn).loss.dataSync())).toBe(0);
    }
    const plain = objective({ kind: 'ddpm', varianceType: 'fixed-small' });
    const weighed = objective({ kind: 'ddpm', varianceType: 'fixed-small', minSnr: 5 });
    const drawn = tf.tensor1d([0, 900], 'int32');
    const [own, limited] = [plain, weighed].map(({ losses }) => [...losses(clean(), clean(), noise(), drawn).loss.dataSync()]);
    // Signal to noise is 9999 in the first step, and far below 5 in the other.
    expect(limited[0] / own[0]).toBeCloseTo(5 / 9999, 5);
    expect(limited[1]).toBeCloseTo(own[1], 6);
  });

  test('the mean loss of a model is what its parts give', () => {
    for (const kind of ['flow', 'ddpm'] as const) {
      const { draw, noisy, losses, loss } = objective(kind === 'flow' ? { kind } : { kind, varianceType: 'fixed-small' });
      const drawn = draw(batch);
      const model = (x: tf.Tensor, t: tf.Tensor) => tf.add(tf.mul(x, 0.3), tf.reshape(tf.div(t, 1000), [-1, 1]));
      const { x, t } = noisy(clean(), noise(), drawn);
      const expected = tf.mean(losses(model(x, t), clean(), noise(), drawn).loss);
      expect(loss(model, clean(), noise(), drawn).dataSync()[0]).toBeCloseTo(expected.dataSync()[0], 6);
    }
  });

  test('ddpm by loss: after a full history large losses are drawn more, and the mean loss stays that of uniform timesteps', async () => {
    const options = { kind: 'ddpm', schedule: [0.1, 0.2, 0.3, 0.4], varianceType: 'fixed-small', timesteps: 'loss-second-moment' } as const;
    const { draw, noisy, losses, observe } = objective(options);
    const count = 4000;
    const indices = Array.from({ length: count }, (_, i) => i);
    const [data, zero] = [tf.zeros([count, 1]), tf.zeros([count, 1])];
    // A model whose squared error at timestep k is (k + 1)^2.
    const wrong = (t: tf.Tensor) => tf.reshape(tf.add(t, 1), [-1, 1]);
    const step = async (start: number) => {
      const drawn = draw({ seed: 1, purpose: 'time', indices: indices.map((i) => start + i) });
      const { t } = noisy(data, zero, drawn);
      const { loss } = losses(wrong(t), data, zero, drawn);
      await observe!(drawn, loss);
      const times = t.dataSync();
      return { shares: [0, 1, 2, 3].map((k) => times.filter((x) => x === k).length / count), mean: tf.mean(loss).dataSync()[0] };
    };
    const [uniform, chosen] = [await step(0), await step(count)];
    const squares = [1, 4, 9, 16];
    for (const [k, square] of squares.entries()) {
      expect(uniform.shares[k]).toBeCloseTo(1 / 4, 1);
      // Three standard deviations of 4000 draws are 0.024.
      expect(Math.abs(chosen.shares[k] - square / 30)).toBeLessThan(0.025);
    }
    // The exact mean is 7.5; with the weights the loss hardly varies.
    expect(Math.abs(uniform.mean - 7.5)).toBeLessThan(0.3);
    expect(Math.abs(chosen.mean - 7.5)).toBeLessThan(0.03);
    expect(objective({ kind: 'ddpm' }).observe).toBeUndefined();
  });

  test('ddpm: options of earlier versions mean what they meant', () => {
    for (const [meanType, prediction] of [
      ['epsilon', 'noise'],
      ['velocity', 'v'],
      ['start', 'start'],
    ] as const) {
      const old = { kind: 'ddpm', meanType, steps: 100 } as Parameters<typeof objective>[0];
      expect(objective(old).model((x) => x)).toMatchObject({ prediction, gaussian: { steps: 100 } });
    }
  });

  test('ddpm learns a variance by default, and its terms are named', () => {
    const { losses, learnsVariance } = objective({ kind: 'ddpm' });
    expect(learnsVariance).toBe(true);
    expect(Object.keys(losses(tf.zeros([2, 4]), clean(), noise(), tf.tensor1d([5, 50], 'int32'))).sort()).toEqual(['loss', 'mse', 'vb']);
  });

  test.each([
    [{ kind: 'edm' }, /kind/],
    [{ kind: 'ddpm', timesteps: 'largest' }, /timesteps/],
    [{ kind: 'ddpm', minSnr: 0 }, /minSnr/],
    [{ kind: 'ddpm', minSnr: 5, loss: 'kl' }, /minSnr/],
    [{ kind: 'ddpm', schedule: 'sine' }, /linear, cosine/],
    [{ kind: 'flow', times: { distribution: 'normal' } }, /distribution/],
    [{ kind: 'flow', times: { shift: 0 } }, /shift/],
    [{ kind: 'flow', cosine: 1, prediction: 'noise' }, /velocity/],
    [{ kind: 'flow', path: 'straight' }, /linear, gvp, vp/],
    [{ kind: 'flow', prediction: 'v' }, /prediction/],
    [{ kind: 'ddpm', prediction: 'velocity' }, /prediction/],
    [{ kind: 'ddpm', loss: 'rescaled_mse' }, /loss.*Did you mean rescaled-mse\?/],
    [{ kind: 'flow', path: 'liner' }, /Did you mean linear\?/],
  ])('%o is refused', (options, message) => {
    expect(() => objective(options as unknown as Parameters<typeof objective>[0])).toThrow(message);
  });
});
