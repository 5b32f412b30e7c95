import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { imagenetClasses } from '@dit-moe/data';
import { loadParameters } from '@dit-moe/dit';
import { writeSafetensors } from '@dit-moe/tensor-ops/io/node';
import { startBackend } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ImageRequest, pipelineOf, pixelSpace, type SampleSettings } from '../index.js';
import { tinyCard, writeTinyLatentModel, writeTinyModel, writeTinyRun } from '../testing/tiny-model.js';
import { openPipeline, openPipelineFile, openSpace } from './index.js';

// Five steps: with three, DPM-Solver++(2M) is Euler's method.
const settings: SampleSettings = { solver: 'euler', steps: 5, guidance: 2, seed: 1 };

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'pipeline-'));
const run = path.join(root, 'run');
const newest = path.join(run, 'checkpoints', 'step-7');

let nativeBackend: string;
beforeAll(async () => {
  await startBackend('tensorflow');
  nativeBackend = tf.getBackend();
  await writeTinyRun(run);
});
afterAll(() => fs.rmSync(root, { recursive: true }));

describe('models', () => {
  test('a run folder means its newest checkpoint, and its average unless asked otherwise', async () => {
    const pathOf = async (location: string, weights?: string) => {
      const { path: found, close } = await openPipelineFile(location, { weights });
      await close();
      return found;
    };
    expect(await pathOf(run)).toBe(path.join(newest, 'ema.safetensors'));
    expect(await pathOf(newest, 'weights')).toBe(path.join(newest, 'weights.safetensors'));
    await expect(openPipelineFile(root)).rejects.toThrow(/no checkpoint/);
    await expect(openPipelineFile(path.join(root, 'nowhere'))).rejects.toThrow(/no such file or folder/);
  });

  test('a file of others has to be told how it was trained', async () => {
    const foreign = path.join(import.meta.dirname, '../../../../golden/dit-moe/model/A3/weights.safetensors');
    await expect(openPipelineFile(foreign)).rejects.toThrow(/objective/);
    const { card, close } = await openPipelineFile(foreign, { objective: 'flow' });
    await close();
    expect(card).toMatchObject({ objective: 'flow', timeScale: 1, classNames: ['0', '1', '2', '3', '4', '5', '6'] });
    await expect(openPipelineFile(run, { objective: 'ddpm' })).rejects.toThrow(/objective is "flow", needed "ddpm"/);
  });

  test("ImageNet's classes have English names: of its folders, and, as is said, of 1,000 classes without names", async () => {
    const thousand = { ...tinyCard, config: { ...tinyCard.config, numClasses: 1000 } };
    for (const [classNames, said] of [
      [imagenetClasses, []],
      [[], [expect.stringContaining('ImageNet')]],
    ] as const) {
      const file = path.join(root, 'imagenet.safetensors');
      await writeTinyModel(file, { ...thousand, classNames });
      const { card, assumed, close } = await openPipelineFile(file);
      await close();
      expect(assumed).toEqual(said);
      expect(card.classNames).toHaveLength(1000);
      expect([0, 134, 207, 517, 999].map((label) => card.classNames[label])).toEqual([
        ...['tench', 'crane', 'golden retriever', 'crane', 'toilet tissue'],
      ]);
    }
  });

  test('a missing weight and a foreign file are refused by name and leave no tensor', async () => {
    const before = tf.memory().numTensors;
    const incomplete = path.join(root, 'incomplete.safetensors');
    await writeTinyModel(incomplete, tinyCard, '', 'blocks.0.moe.gate');
    await expect(openPipeline(incomplete)).rejects.toThrow(/blocks\.0\.moe\.gate/);
    const foreign = path.join(root, 'foreign.safetensors');
    await writeSafetensors(foreign, []);
    await expect(openPipeline(foreign)).rejects.toThrow(/foreign\.safetensors/);
    fs.writeFileSync(foreign, 'not a model');
    await expect(openPipeline(foreign)).rejects.toMatchObject({ code: 'E_FORMAT' });
    expect(tf.memory().numTensors).toBe(before);
  });

  test('the size of the pictures must fit the patches', async () => {
    await expect(openPipeline(run, { size: [7, 4] })).rejects.toThrow(/size.*multiples of 2.*7x4/);
    const pipeline = await openPipeline(run, { size: [4, 6] });
    expect(await pipeline.sample({ ...settings, labels: [1] })).toMatchObject({ height: 4, width: 6, channels: 1, count: 1 });
    pipeline.dispose();
  });
});

describe('settings', () => {
  const open = async (card: object) => {
    const file = path.join(root, 'settings.safetensors');
    await writeTinyModel(file, { ...tinyCard, ...card });
    return openPipeline(file);
  };

  test("are the model's: a flow takes 50 Euler steps, a Gaussian model 250 ancestral ones", async () => {
    const flow = await open({});
    expect(flow.settings()).toEqual({ solver: 'euler', steps: 50, guidance: 2, seed: 0 });
    expect(flow.settings({ solver: 'heun', seed: 3 })).toEqual({ solver: 'heun', steps: 25, guidance: 2, seed: 3 });
    expect(flow.settings({ solver: 'dopri5' })).toEqual({ solver: 'dopri5', guidance: 2, seed: 0 });
    flow.dispose();
    const gaussian = await open({ objective: 'ddpm' });
    expect(gaussian.settings()).toEqual({ solver: 'ddpm', steps: 250, guidance: 1.5, seed: 0 });
    expect(() => gaussian.settings({ guidanceRule: 'cfg-zero' })).toThrow(/Gaussian/);
    gaussian.dispose();
    const ruled = await open({ guidance: 3, guidanceRule: 'rescale' });
    expect(ruled.settings()).toMatchObject({ guidance: 3, guidanceRule: 'rescale' });
    expect(ruled.settings({ guidance: 1, guidanceRule: 'cfg' })).toMatchObject({ guidance: 1, guidanceRule: 'cfg' });
    ruled.dispose();
  });

  test('that do not fit are refused before anything is computed', async () => {
    const pipeline = await open({ config: { ...tinyCard.config, nullLabel: false } });
    expect(pipeline.settings().guidance).toBe(1);
    for (const [request, message] of [
      [{ guidance: 2 }, /guidance.*"no class"/],
      [{ labels: [3] }, /label.*0 to 2, found 3/],
      [{ labels: [null] }, /no class/],
      [{ labels: [] }, /at least one/],
      [{ guidedChannels: 2 }, /guidedChannels.*1 to 1/],
      [{ seed: -1 }, /seed/],
      [{ batch: 0 }, /batch/],
      [{ solver: 'eular' }, /solver/],
      [{ guidanceRule: 'agp' }, /Did you mean apg/],
      [{ guidanceRule: 'apg:momentum=-0.5', solver: 'heun' }, /momentum.*several evaluations/],
      [{ interval: [0.5, 2] }, /interval/],
      [{ cache: 1 }, /cache.*fast, exact, or a whole number from 2/],
      [{ cache: 'fast', solver: 'dopri5' }, /cache.*number of steps/],
    ] as const)
      expect(() => pipeline.sample({ labels: [0], ...(request as object) }), JSON.stringify(request)).toThrow(message);
    pipeline.dispose();
  });

  test('guidance changes three channels of Gaussian models and all of flow models, or those of the card or the request', async () => {
    const config = { ...tinyCard.config, inChannels: 4 };
    const latents = async (card: object, request: object) => {
      const file = path.join(root, 'channels.safetensors');
      await writeTinyModel(file, { ...tinyCard, config, ...card });
      const pipeline = await openPipeline(file, { vae: 'none' });
      let data: ArrayLike<number> = [];
      await pipeline.sample({
        solver: 'euler',
        steps: 1,
        labels: [1],
        ...request,
        onSamples: (x) => void (data = x.dataSync()),
      });
      pipeline.dispose();
      return Array.from({ length: 4 }, (_, c) => Array.from(data).slice(16 * c, 16 * c + 16));
    };
    for (const [card, changed] of [
      [{ objective: 'ddpm' }, [true, true, true, false]],
      [{ objective: 'ddpm', guidedChannels: 4 }, [true, true, true, true]],
      [{ objective: 'flow' }, [true, true, true, true]],
    ] as const) {
      const [plain, guided] = [await latents(card, { guidance: 1 }), await latents(card, { guidance: 4 })];
      expect(
        guided.map((channel, c) => channel.some((v, i) => Math.abs(v - plain[c][i]) > 1e-4 * Math.max(...plain[c].map(Math.abs)))),
        JSON.stringify(card),
      ).toEqual(changed);
    }
    expect(await latents({ objective: 'ddpm' }, { guidance: 4, guidedChannels: 4 })).toEqual(
      await latents({ objective: 'ddpm', guidedChannels: 4 }, { guidance: 4 }),
    );
  });
});

describe('images', () => {
  test('depend on seed and number, not on the batch, and leave no tensor', async () => {
    const before = tf.memory().numTensors;
    const pipeline = await openPipeline(run);
    const sample = async (batch: number, more: Partial<SampleSettings> = {}) =>
      (await pipeline.sample({ ...settings, ...more, labels: [0, 1, 2, 0, 1], batch })).data;
    const together = await sample(5);
    expect(together.length).toBe(5 * 16);
    expect(new Set(together).size).toBeGreaterThan(10);
    const inParts = await sample(2);
    expect(inParts).toEqual(together);
    expect(await sample(1)).toEqual(together);
    expect(await sample(5)).toEqual(together);
    const rest = await pipeline.sample({ ...settings, labels: [2, 0, 1], first: 2 });
    expect(rest.data).toEqual(together.subarray(2 * 16));
    for (const change of [
      { seed: 2 },
      { guidance: 5 },
      { solver: 'heun' as const },
      { solver: 'dpm++2m' as const },
      { interval: [0.9, 1] as const },
      { guidanceRule: 'rescale' },
      { guidanceRule: 'cfg-zero:zeroAbove=0.7' },
      { guidanceRule: 'apg:momentum=-0.5' },
    ]) {
      const changed = await sample(5, change);
      expect(changed, JSON.stringify(change)).not.toEqual(together);
      expect(await sample(2, change)).toEqual(changed);
    }
    expect(await sample(5, { guidanceRule: 'cfg' })).toEqual(together);
    expect(await sample(5, { guidanceRule: 'apg' })).not.toEqual(await sample(5, { guidanceRule: 'apg:momentum=-0.5' }));
    pipeline.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  test.each([
    ['guided in a part of the way', { interval: [0.3, 0.8] as const }],
    ['by a solver that corrects itself', { solver: 'heun' as const }],
    ['with fresh noise', { solver: 'ddpm' as const }],
    ['by a guide', {}],
    ['between classes', {}],
  ])('of a cache %s depend on seed and number, not on the batch, and leave no tensor', async (name, more) => {
    const pipeline = await openPipeline(run, { ...(name === 'by a guide' && { guideWith: newest }) });
    const requests: ImageRequest[] = [0, 1, 2].map((index) => ({
      ...{ label: index, index },
      ...(name === 'between classes' && { toward: { label: 0, seed: 1, share: 0.5 } }),
    }));
    const sampled = async (cache: SampleSettings['cache'], batch: number) =>
      (await pipeline.sample({ ...settings, steps: 20, ...more, cache, images: requests, batch })).data;
    const plain = await sampled(undefined, 3);
    const before = tf.memory().numTensors;
    const skipping = await sampled(3, 3);
    expect(skipping).not.toEqual(plain);
    expect(await sampled(3, 2)).toEqual(skipping);
    expect(tf.memory().numTensors).toBe(before);
    pipeline.dispose();
  });

  test.each(['fast', 'exact', 3] as const)('of a cache %s are the same on WebAssembly', async (cache) => {
    const sampled = async () => {
      const pipeline = await openPipeline(run);
      const { data } = await pipeline.sample({ ...settings, steps: 50, cache, labels: [0, 1, 2] });
      const plain = await pipeline.sample({ ...settings, steps: 50, labels: [0, 1, 2] });
      pipeline.dispose();
      return { data, plain: plain.data };
    };
    const [native, portable] = [await sampled(), await startBackend('wasm').then(sampled)];
    await tf.setBackend(nativeBackend);
    // Two backends round differently: a value may fall on the other side of a half.
    const farthest = (a: Uint8Array, b: Uint8Array) => Math.max(...a.map((value, i) => Math.abs(value - b[i])));
    expect(farthest(portable.data, native.data)).toBeLessThanOrEqual(1);
    // What is left out is the same, and is not nothing.
    expect(native.data).not.toEqual(native.plain);
    expect(portable.data).not.toEqual(portable.plain);
  });

  test('of a cache ask the model less often, and watch the routers where it is asked', async () => {
    const pipeline = await openPipeline(run);
    const asked = async (cache: SampleSettings['cache']) => {
      let calls = 0;
      await pipeline.sample({ ...settings, steps: 50, cache, labels: [1], onRouting: () => calls++ });
      return calls;
    };
    expect([await asked(undefined), await asked('exact'), await asked('fast'), await asked(4)]).toEqual([50, 39, 23, 14]);
    pipeline.dispose();
  });

  test('in bf16 are close to those in float32', async () => {
    const [full, low] = await Promise.all(
      (['f32', 'bf16'] as const).map(async (precision) => {
        const pipeline = await openPipeline(run, { weights: 'weights', precision });
        const { data } = await pipeline.sample({ ...settings, labels: [0, 1, 2] });
        pipeline.dispose();
        return data;
      }),
    );
    const difference = full.reduce((sum, v, i) => sum + Math.abs(v - low[i]), 0) / full.length;
    expect(difference).toBeLessThan(4);
  });

  test('of no class are those of the null label', async () => {
    const pipeline = await openPipeline(run);
    const none = await pipeline.sample({ ...settings, labels: [null] });
    expect(none.data).toEqual((await pipeline.sample({ ...settings, labels: [null], guidance: 1 })).data);
    expect(none.data).not.toEqual((await pipeline.sample({ ...settings, labels: [0], guidance: 1 })).data);
    pipeline.dispose();
  });

  test('of weights that are on the device are those of their file', async () => {
    const pipeline = await openPipeline(run, { weights: 'weights' });
    const file = await openPipelineFile(run, { weights: 'weights' });
    const parameters = await loadParameters(file);
    await file.close();
    const live = pipelineOf(file.card, parameters, pixelSpace(1));
    const request = { ...settings, labels: [2, 1] };
    expect((await live.sample(request)).data).toEqual((await pipeline.sample(request)).data);
    live.dispose();
    for (const parameter of Object.values(parameters)) parameter.dispose();
    pipeline.dispose();
  });
});

describe('a guide', () => {
  const guided = async (guideWith: string, request: object = {}, model = run) => {
    const pipeline = await openPipeline(model, { guideWith });
    const { data } = await pipeline.sample({ ...settings, labels: [0, 1, 2], ...request });
    pipeline.dispose();
    return data;
  };
  const smaller = path.join(root, 'smaller.safetensors');
  beforeAll(() => writeTinyModel(smaller, { ...tinyCard, config: { ...tinyCard.config, hiddenSize: 4, numHeads: 1, moe: undefined } }));

  test('that is the model itself changes nothing, a weaker one does, and no tensor is left', async () => {
    const before = tf.memory().numTensors;
    const pipeline = await openPipeline(run);
    const plain = (await pipeline.sample({ ...settings, labels: [0, 1, 2], guidance: 1 })).data;
    const away = (await pipeline.sample({ ...settings, labels: [0, 1, 2] })).data;
    pipeline.dispose();
    expect(await guided(run)).toEqual(plain);
    const weaker = await guided(smaller);
    expect(weaker).not.toEqual(plain);
    expect(weaker).not.toEqual(away);
    expect(await guided(smaller, { batch: 2 })).toEqual(weaker);
    expect(await guided(smaller, { guidance: 1 })).toEqual(plain);
    const toward = { label: 2, seed: 1 };
    expect(await guided(smaller, { labels: undefined, images: [{ label: 0, index: 0, toward: { ...toward, share: 0.5 } }] })).not.toEqual(
      weaker.subarray(0, 16),
    );
    expect(tf.memory().numTensors).toBe(before);
  });

  test('guides a model that knows no "no class"', async () => {
    const model = path.join(root, 'labelled.safetensors');
    await writeTinyModel(model, { ...tinyCard, config: { ...tinyCard.config, nullLabel: false } });
    expect(await guided(model, { guidance: undefined }, model)).toEqual(await guided(model, { guidance: 1 }, model));
    expect(await guided(smaller, { guidance: undefined }, model)).not.toEqual(await guided(smaller, { guidance: 1 }, model));
  });

  test('that predicts something else is refused with every difference, and leaves no tensor', async () => {
    const before = tf.memory().numTensors;
    const other = path.join(root, 'other.safetensors');
    await writeTinyModel(other, {
      ...tinyCard,
      config: { ...tinyCard.config, numClasses: 4, inputSize: [8, 4] },
      objectiveOptions: { kind: 'flow', prediction: 'start' },
    });
    await expect(openPipeline(run, { guideWith: other })).rejects.toMatchObject({
      code: 'E_MODEL_MISMATCH',
      message: expect.stringMatching(/prediction is start, needed velocity; input size is 8 x 4, needed 4 x 4; classes is 4, needed 3/),
    });
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('progress', () => {
  test('comes after every step of every batch, with a preview, and awaiting gives the pictures', async () => {
    const before = tf.memory().numTensors;
    const pipeline = await openPipeline(run);
    const sampling = pipeline.sample({ ...settings, labels: [0, 1, 2], batch: 2 });
    const seen: string[] = [];
    for await (const { from, to, images, step, steps, preview } of sampling) {
      seen.push(`${from}-${to}/${images} ${step}/${steps}`);
      expect(await preview()).toMatchObject({ count: to - from, width: 4 });
    }
    expect(seen).toEqual([...[1, 2, 3, 4, 5].map((step) => `0-2/3 ${step}/5`), ...[1, 2, 3, 4, 5].map((step) => `2-3/3 ${step}/5`)]);
    const pictures = await sampling;
    expect(await sampling).toBe(pictures);
    expect(pictures.data).toEqual((await pipeline.sample({ ...settings, labels: [0, 1, 2] })).data);
    pipeline.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  test('who leaves the loop or aborts ends it, and no tensor is left', async () => {
    const pipeline = await openPipeline(run);
    await pipeline.sample({ ...settings, labels: [0] });
    const before = tf.memory().numTensors;
    const left = pipeline.sample({ ...settings, labels: [0, 1] });
    for await (const { step } of left) if (step === 2) break;
    await expect(Promise.resolve(left)).rejects.toThrow(/left before its end/);
    const stop = new AbortController();
    const aborted = pipeline.sample({ ...settings, labels: [0, 1], signal: stop.signal });
    const watch = async () => {
      for await (const { step } of aborted) if (step === 2) stop.abort(new Error('enough'));
    };
    await expect(watch()).rejects.toThrow('enough');
    await expect(Promise.resolve(aborted)).rejects.toThrow('enough');
    expect(tf.memory().numTensors).toBe(before);
    pipeline.dispose();
  });
});

describe('starting elsewhere than at one seed and class', () => {
  test('a way between classes and seeds begins and ends at the images of its ends', async () => {
    const before = tf.memory().numTensors;
    const pipeline = await openPipeline(run);
    const pixels = async (images: ImageRequest[], more: Partial<SampleSettings> = {}) =>
      (await pipeline.sample({ ...settings, ...more, images })).data;
    const toward = { label: 2, seed: 9 };
    const way = await pixels([
      ...[0, 0.5].map((share) => ({ label: 0, seed: 1, index: 3, toward: { ...toward, share } })),
      { label: 2, seed: 9, index: 3 },
    ]);
    const first = await pixels([{ label: 0, index: 3 }], { seed: 1 });
    const last = await pixels([{ label: 2, index: 3 }], { seed: 9 });
    // Mixing with shares 1 and 0 rounds: a value may fall on the other side of a half.
    const close = (a: Uint8Array, b: Uint8Array) => expect(Math.max(...a.map((v, i) => Math.abs(v - b[i])))).toBeLessThanOrEqual(1);
    close(way.subarray(0, 16), first);
    close(way.subarray(32), last);
    const distance = (a: Uint8Array, b: Uint8Array) => a.reduce((sum, v, i) => sum + Math.abs(v - b[i]), 0);
    expect(distance(way.subarray(16, 32), first)).toBeGreaterThan(distance(way.subarray(0, 16), first));
    pipeline.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  const picture = { data: Uint8Array.from({ length: 16 }, (_, i) => 127 + 100 * Math.sin(i)), count: 1, height: 4, width: 4, channels: 1 };

  test.each(['euler', 'heun', 'dpm++2m', 'unipc', 'ddpm', 'dpm++2m-sde'] as const)('%s keeps what the mask keeps', async (solver) => {
    const pipeline = await openPipeline(run);
    const mask = { ...picture, data: Uint8Array.from({ length: 16 }, (_, i) => (i % 4 < 2 ? 255 : 0)) };
    const { data } = await pipeline.sample({ ...settings, solver, labels: [0, 1], init: { picture, mask } });
    for (let i = 0; i < 32; i++) if (i % 4 >= 2) expect(data[i]).toBe(picture.data[i % 16]);
    expect(Math.abs(data[0] - picture.data[0])).toBeGreaterThan(2);
    pipeline.dispose();
  });

  test('a picture is kept the more, the less it is noised', async () => {
    const before = tf.memory().numTensors;
    const pipeline = await openPipeline(run);
    const distance = async (strength: number) => {
      const { data } = await pipeline.sample({ ...settings, steps: 20, labels: [0], init: { picture, strength } });
      return data.reduce((sum, v, i) => sum + ((v - picture.data[i]) / 127.5) ** 2 / 16, 0);
    };
    const [little, much] = [await distance(0.05), await distance(0.9)];
    expect(little).toBeLessThan(0.02);
    expect(much).toBeGreaterThan(5 * little);
    const adaptive = pipeline.sample({ ...settings, solver: 'dopri5', steps: undefined, labels: [0], init: { picture, strength: 0.5 } });
    await expect(Promise.resolve(adaptive)).rejects.toThrow(/number of steps/);
    const large = pipeline.sample({ ...settings, labels: [0], init: { picture: { ...picture, height: 2, width: 8 } } });
    await expect(Promise.resolve(large)).rejects.toThrow(/4 x 4 pixels/);
    pipeline.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('latents', () => {
  const model = path.join(root, 'latents.safetensors');
  const vae = path.join(root, 'vae');
  beforeAll(() => writeTinyLatentModel(model, vae));

  test('are decoded by the autoencoder of the model, in the same bytes with or without its encoder', async () => {
    const before = tf.memory().numTensors;
    const pipeline = await openPipeline(model, { vae });
    const { card } = pipeline;
    const pictures = await pipeline.sample({ ...settings, labels: [0, 1] });
    expect(pictures).toMatchObject({ height: 8, width: 8, channels: 3, count: 2 });
    pipeline.dispose();
    const [whole, half] = [await openSpace(card, vae), await openSpace(card, vae, { encoder: false })];
    const x = tf.randomNormal([1, 4, 4, 4], 0, 1, 'float32', 1);
    expect(await half.decode(x)).toEqual(await whole.decode(x));
    tf.dispose(x);
    for (const space of [whole, half]) space.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  test('a model remembers its autoencoder', async () => {
    const file = path.join(root, 'remembers.safetensors');
    const { card, close } = await openPipelineFile(model);
    await close();
    await writeTinyModel(file, { ...card, latents: { ...card.latents!, autoencoder: vae } });
    const pipeline = await openPipeline(file);
    expect(pipeline.space).toMatchObject({ scale: 2, faithful: true });
    pipeline.dispose();
  });

  test('another autoencoder is refused, and leaves no tensor', async () => {
    const before = tf.memory().numTensors;
    const { card, close } = await openPipelineFile(model);
    await close();
    const other = (latents: object) => openSpace({ ...card, latents: { ...card.latents!, ...latents } }, vae);
    await expect(other({ vae: 'abc' })).rejects.toMatchObject({ code: 'E_AUTOENCODER_MISMATCH', message: /another encoder/ });
    await expect(other({ scalingFactor: 1 })).rejects.toThrow(/scaled by/);
    await expect(openSpace({ ...card, config: { ...card.config, inChannels: 8 } }, vae)).rejects.toThrow(/4 channels, the model's 8/);
    expect(tf.memory().numTensors).toBe(before);
  });

  test('without an autoencoder are shown roughly, and cannot be made of pictures', async () => {
    const pipeline = await openPipeline(model, { vae: 'none' });
    expect(pipeline.space.faithful).toBe(false);
    expect(await pipeline.sample({ ...settings, labels: [0] })).toMatchObject({ height: 4, width: 4, channels: 3 });
    await expect(pipeline.space.encode(tf.zeros([1, 3, 4, 4]))).rejects.toMatchObject({ code: 'E_NO_AUTOENCODER' });
    pipeline.dispose();
  });
});
