import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { LossSecondMomentSampler, objective } from '@dit-moe/diffusion';
import { openModel, writeModel } from '@dit-moe/dit/node';
import { tensorFlowBackend } from '@dit-moe/tensor-ops';
import { SafetensorsFile } from '@dit-moe/tensor-ops/io/node';
import { startBackend } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { modelConfig } from '../config/resolve.js';
import { openData } from '../data/open.js';
import { checkpointBytes, checkpointFolder, curveOf, makeRoot, metricsLines, runTiny, tinyConfig } from '../testing/tiny-run.js';
import { BatchMaker, type BatchOptions, upload } from './batches.js';
import { TrainingState } from './state.js';

const { root, images, newRun } = makeRoot();
const config = (...overrides: string[]) => tinyConfig(images, ...overrides);
beforeAll(async () => void (await startBackend('tensorflow')));
afterAll(() => fs.rmSync(root, { recursive: true }));

describe('a run', () => {
  test('leaves configuration, metrics, events, samples, report and checkpoints, and no tensor', async () => {
    const out = newRun();
    const before = tf.memory().numTensors;
    const { loss, step } = await runTiny(config('ema=[0.5,0.9]'), out);
    expect(tf.memory().numTensors).toBe(before);
    expect(step).toBe(4);
    expect(loss).toBeGreaterThan(0);
    expect(metricsLines(out).map((line) => line.step)).toEqual([1, 2, 3, 4]);
    // 4 samples of 4 tokens with 2 experts each.
    expect(metricsLines(out)[0].routing[0].load.reduce((a: number, b: number) => a + b)).toBe(32);
    expect(fs.existsSync(path.join(out, 'samples', 'step-00000004.png'))).toBe(true);
    expect(fs.readdirSync(out).filter((name) => name.startsWith('events.out.tfevents.'))).toHaveLength(1);
    const report = fs.readFileSync(path.join(out, 'report.html'), 'utf8');
    for (const part of [
      'Load of the experts',
      'chosen together',
      'data:image/png;base64,',
      'gradient norm',
      'waited for data',
      'memory of the process (MiB)',
    ])
      expect(report).toContain(part);
    expect(report).not.toMatch(/(src|href)="http/);
    expect(fs.readdirSync(out)).not.toContain('run.lock');
    // Averages of two rates, both saved and different.
    expect(checkpointBytes(out, 4, 'ema').equals(checkpointBytes(out, 4, 'ema-0.9'))).toBe(false);
  });

  test('is the same with places for metrics that fail, and says that they did', async () => {
    const [alone, told] = [newRun(), newRun()];
    await runTiny(config(), alone);
    // Nothing listens there, and nothing can be written here.
    fs.mkdirSync(told);
    fs.writeFileSync(path.join(told, 'wandb'), '');
    const { messages, step } = await runTiny(config('logging={wandb: {project: a}, mlflow: {server: "http://127.0.0.1:2"}}'), told);
    expect(step).toBe(4);
    expect(curveOf(told)).toEqual(curveOf(alone));
    expect(checkpointBytes(told, 4, 'weights').equals(checkpointBytes(alone, 4, 'weights'))).toBe(true);
    for (const name of ['Weights & Biases', 'MLflow'])
      expect(messages).toContainEqual(expect.stringMatching(`^WARNING: ${name} lacks metrics: .*--resume sends them\\.$`));
  });

  test('comes back with the mean loss of its last line of metrics, not with that of the last step', async () => {
    const [one, all] = [newRun(), newRun()];
    await runTiny(config(), one);
    const { loss } = await runTiny(config('logEvery=4'), all);
    expect(loss).toBe(metricsLines(all).at(-1).loss);
    expect(loss).toBeCloseTo(metricsLines(one).reduce((sum, line) => sum + line.loss, 0) / 4, 6);
  });

  test.each([
    ['flow', []],
    ['ddpm with accumulation and clipping', ['objective.kind=ddpm', 'accumulation=2', 'optimizer.clipNorm=0.5', 'logEvery=2']],
  ])('%s: resumed at any step equals the uninterrupted one bit for bit', async (_, overrides) => {
    const [whole, parts] = [newRun(), newRun()];
    await runTiny(config('steps=5', ...overrides), whole);
    await runTiny(config('steps=3', ...overrides), parts);
    const { messages } = await runTiny(config('steps=5', ...overrides), parts, { resume: true });
    expect(messages).toContain('resumed at step 3');
    for (const file of ['weights', 'ema', 'optimizer', 'telemetry'])
      expect(checkpointBytes(parts, 5, file).equals(checkpointBytes(whole, 5, file)), file).toBe(true);
    expect(curveOf(parts).at(-1)).toEqual(curveOf(whole).at(-1));
  });

  test('a checkpoint of before there were counters is resumed; they start anew', async () => {
    const [whole, parts] = [newRun(), newRun()];
    await runTiny(config('logEvery=4'), whole);
    await runTiny(config('logEvery=4', 'steps=2'), parts);
    const folder = checkpointFolder(parts, 2);
    const file = path.join(folder, 'manifest.json');
    const { sha256: _, ...manifest } = JSON.parse(fs.readFileSync(file, 'utf8'));
    delete manifest.files['telemetry.safetensors'];
    fs.rmSync(path.join(folder, 'telemetry.safetensors'));
    const sha256 = createHash('sha256').update(JSON.stringify(manifest)).digest('hex');
    fs.writeFileSync(file, JSON.stringify({ ...manifest, sha256 }));
    const { messages } = await runTiny(config('logEvery=4'), parts, { resume: true });
    expect(messages).toContain('resumed at step 2');
    expect(checkpointBytes(parts, 4, 'weights').equals(checkpointBytes(whole, 4, 'weights'))).toBe(true);
    const tokens = (out: string) =>
      metricsLines(out)
        .at(-1)
        .routing[0].load.reduce((a: number, b: number) => a + b);
    expect([tokens(whole), tokens(parts)]).toEqual([4 * 32, 2 * 32]);
  });

  test('timesteps drawn by their losses: the history is in the checkpoint, and a resumed run equals the uninterrupted one', async () => {
    const [whole, parts, forgetful] = [newRun(), newRun(), newRun()];
    const aware = 'objective={kind: ddpm, schedule: cosine, steps: 2, timesteps: loss-second-moment}';
    const before = tf.memory().numTensors;
    // Less than 13 steps fill the histories of two timesteps with ten losses each; from then on they decide.
    await runTiny(config('steps=16', 'accumulation=2', aware), whole);
    expect(tf.memory().numTensors).toBe(before);
    await runTiny(config('steps=13', 'accumulation=2', aware), parts);
    fs.cpSync(parts, forgetful, { recursive: true });
    await runTiny(config('steps=16', 'accumulation=2', aware), parts, { resume: true });
    for (const file of ['weights', 'ema', 'optimizer'])
      expect(checkpointBytes(parts, 16, file).equals(checkpointBytes(whole, 16, file)), file).toBe(true);
    const history = (out: string) =>
      JSON.parse(fs.readFileSync(path.join(checkpointFolder(out, 16), 'manifest.json'), 'utf8')).record.lossHistory;
    expect(history(whole).map((losses: number[]) => losses.length)).toEqual([10, 10]);
    expect(history(parts)).toEqual(history(whole));
    const restore = vi.spyOn(LossSecondMomentSampler.prototype, 'restore').mockReturnValue();
    await runTiny(config('steps=16', 'accumulation=2', aware), forgetful, { resume: true });
    restore.mockRestore();
    expect(checkpointBytes(forgetful, 16, 'weights').equals(checkpointBytes(whole, 16, 'weights'))).toBe(false);
  });

  const numbers = (out: string, step: number) => {
    const buffer = checkpointBytes(out, step, 'weights');
    const header = Number(buffer.readBigUInt64LE(0));
    return new Float32Array(new Uint8Array(buffer.subarray(8 + header)).buffer);
  };
  /** Adam divides by the gradient's own size, so rounding in tiny gradients shows: a share of the learning rate (1e-4) per step. */
  const expectNear = (a: Float32Array, b: Float32Array) => {
    for (const [i, w] of a.entries()) expect(Math.abs(w - b[i])).toBeLessThan(2e-5);
  };

  test('is the same for any number of micro-batches, and resumed with another', async () => {
    const [one, four, mixed] = [newRun(), newRun(), newRun()];
    const split = (accumulation: number, steps = 4) => config(`accumulation=${accumulation}`, `steps=${steps}`, 'model.moe.balanceAlpha=0');
    await runTiny(split(1), one);
    await runTiny(split(4), four);
    await runTiny(split(1, 2), mixed);
    await runTiny(split(4), mixed, { resume: true });
    expectNear(numbers(four, 4), numbers(one, 4));
    expectNear(numbers(mixed, 4), numbers(one, 4));
  });

  test('resumed on another backend it equals the uninterrupted one up to rounding', async () => {
    const [whole, parts] = [newRun(), newRun()];
    await runTiny(config('steps=4'), whole);
    await runTiny(config('steps=2'), parts);
    await startBackend('wasm');
    try {
      const { messages } = await runTiny(config('steps=4'), parts, { resume: true });
      expect(messages).toContain('resumed at step 2');
    } finally {
      await startBackend('tensorflow');
    }
    expectNear(numbers(parts, 4), numbers(whole, 4));
    for (const [i, { step, loss }] of metricsLines(whole).entries()) {
      expect(metricsLines(parts)[i].step).toBe(step);
      // float32 sums in another order.
      expect(Math.abs(metricsLines(parts)[i].loss / loss - 1)).toBeLessThan(1e-5);
    }
  });

  test.each([['f32'], ['bf16']])('in %s recomputes activations to the same weights', async (precision) => {
    // Also where the processor is slow at it, and float32 would be used.
    if (precision === 'bf16') tensorFlowBackend()!.bf16Products = true;
    const [kept, recomputed] = [newRun(), newRun()];
    const overrides = ['model.depth=3', 'model.moe.layers=[1,2]', `precision=${precision}`];
    await runTiny(config(...overrides), kept);
    await runTiny(config(...overrides, 'recompute=true'), recomputed);
    expect(curveOf(recomputed)).toEqual(curveOf(kept));
    expect(numbers(recomputed, 4)).toEqual(numbers(kept, 4));
  });

  test('in bf16 stays near f32', async () => {
    // Also where the processor is slow at it, and float32 would be used.
    tensorFlowBackend()!.bf16Products = true;
    const [a, b] = [await runTiny(config(), newRun()), await runTiny(config('precision=bf16'), newRun())];
    expect(b.loss).not.toBe(a.loss);
    // bfloat16 has 8 bits of mantissa; initial modulations are zero, so little of the error reaches the loss.
    expect(Math.abs(b.loss / a.loss - 1)).toBeLessThan(0.02);
  });

  test('starts from a model of other classes: rows of the same name are kept, and it is said', async () => {
    const [two, three] = [newRun(), newRun()];
    await runTiny(config(), two);
    const more = path.join(root, 'more-images');
    fs.cpSync(images, more, { recursive: true });
    fs.cpSync(path.join(more, 'dark'), path.join(more, 'dim'), { recursive: true });
    const { messages } = await runTiny(tinyConfig(more, `initialWeights=${two}`, 'steps=1', 'optimizer.learningRate=1e-30'), three);
    expect(messages).toContain(
      'The table of labels is that of 3 classes, of which 2 keep their row by their name; the row of no class is kept.',
    );
    const rows = async (out: string, step: number) => {
      const file = await SafetensorsFile.open(path.join(checkpointFolder(out, step), 'weights.safetensors'));
      const { data } = await file.read('labelEmbedding.table').finally(() => file.close());
      return Array.from({ length: data.length / 8 }, (_, i) => [...(data as Float32Array).slice(8 * i, 8 * i + 8)]);
    };
    const before = await rows(two, 4);
    const ema = await SafetensorsFile.open(path.join(checkpointFolder(two, 4), 'ema.safetensors'));
    const { data } = await ema.read('labelEmbedding.table').finally(() => ema.close());
    const averages = before.map((_, i) => [...(data as Float32Array).slice(8 * i, 8 * i + 8)]);
    const after = await rows(three, 1);
    // dark, dim, light, none
    for (const [to, from] of [
      [0, 0],
      [2, 1],
      [3, 2],
    ])
      for (const [i, value] of after[to].entries()) expect(value).toBeCloseTo(averages[from][i], 6);
    expect(after[1]).not.toEqual(after[0]);
  });

  test('distils a teacher: with its whole weight the student moves towards it', async () => {
    const teacher = newRun();
    await runTiny(config('steps=80', 'logEvery=20', 'optimizer.learningRate=1e-2'), teacher);
    const distance = async (steps: number) => {
      const out = newRun();
      await runTiny(config(`steps=${steps}`, 'optimizer.learningRate=1e-2', `distillation={teacher: ${teacher}, weight: 1}`), out);
      return metricsLines(out).at(-1).loss;
    };
    // The objective's own loss falls although only the teacher teaches.
    expect(await distance(80)).toBeLessThan(0.9 * (await distance(1)));
    // Any depth and width, with experts or without: the terms are logged, and the report tells their balance.
    const others = [
      ['model.moe=null', 'model.depth=3', 'model.hiddenSize=12', 'model.numHeads=3'],
      ['model.hiddenSize=4', 'model.numHeads=1', 'model.moe={numExperts: 4, topK: 1, expertRatio: 2, sharedRatio: 0}'],
    ];
    for (const other of others) {
      const [student, again] = [newRun(), newRun()];
      const lesson = config('steps=20', 'optimizer.learningRate=1e-2', ...other, `distillation={teacher: ${teacher}, hidden: 0.5}`);
      await runTiny(lesson, student);
      const lines = metricsLines(student);
      for (const { distillation } of lines) expect(Object.keys(distillation)).toEqual(['output', 'hidden']);
      expect(lines.at(-1).distillation.hidden).toBeLessThan(lines[0].distillation.hidden);
      const report = fs.readFileSync(path.join(student, 'report.html'), 'utf8');
      const shares = /objective (\d+) %, output (\d+) %, hidden states (\d+) %/.exec(report)!.slice(1).map(Number);
      expect(Math.abs(shares.reduce((a, b) => a + b) - 100)).toBeLessThanOrEqual(1);
      // The other way round: a dense teacher for the usual student.
      if (other === others[0]) await runTiny(config('steps=1', `distillation={teacher: ${student}, hidden: 0.5}`), again);
    }
    // What there is to say of the teacher's file stands where everything else stands, between the lines of the progress.
    const narrow = path.join(newRun(), 'int8.safetensors');
    const file = await openModel(teacher);
    fs.mkdirSync(path.dirname(narrow), { recursive: true });
    await writeModel(narrow, file, { card: file.card!, dtype: 'I8' }).finally(() => file.close());
    const { messages } = await runTiny(config('steps=1', `distillation={teacher: ${narrow}, weight: 1}`), newRun());
    expect(messages).toContainEqual(expect.stringMatching(/int8 matrices, which become float32/));
    await expect(runTiny(config('model.patchSize=1', `distillation={teacher: ${teacher}, hidden: 0.5}`), newRun())).rejects.toThrow(
      /patch size 2 instead of 1/,
    );
    await expect(runTiny(config('objective.kind=ddpm', `distillation={teacher: ${teacher}, weight: 1}`), newRun())).rejects.toThrow(
      /does not fit this run: objective flow instead of ddpm/,
    );
  });
});

test('every image is seen once per epoch, and a sample is the same in any batch', async () => {
  const data = await openData(config());
  const make = (start: number, size: number, options: Partial<BatchOptions> = {}) =>
    new BatchMaker(data, { seed: 3, labelDropout: 0.3, model: { numClasses: data.classNames.length }, flip: true, ...options }).make(
      start,
      size,
    );
  const noisy = config('model.moe.noise={jitter: 0.1, gate: 0.1}');
  const run = { objective: objective({ kind: 'flow' }), model: modelConfig(noisy, data) };
  const [whole, part] = [upload(await make(6, 6), data, run, 3), upload(await make(8, 2), data, run, 3)];
  for (const key of ['x', 'noise', 'drawn', 'y'] as const) {
    const rows = (await whole[key].array()) as unknown[];
    expect(await part[key].array()).toEqual(rows.slice(2, 4));
  }
  expect(whole.routerNoise!.length).toBe(2);
  for (const [i, noise] of whole.routerNoise!.entries()) {
    const [rows, of] = [(await noise.array()) as unknown[], (await part.routerNoise![i].array()) as unknown[]];
    expect(of).toEqual(rows.slice(rows.length / 3, (2 * rows.length) / 3));
  }
  tf.dispose([...Object.values(whole), ...Object.values(part)]);
  const { x } = await make(6, 6, { flip: false });
  const seen = Array.from({ length: 6 }, (_, i) => x.slice(16 * i, 16 * (i + 1)).join());
  expect(new Set(seen).size).toBe(6);
  expect([...(await make(0, 4, { labelDropout: 1 })).y]).toEqual([2, 2, 2, 2]);
});

test('a step changes every weight only if loss and gradient are finite and the norm is no spike', async () => {
  const data = await openData(config());
  for (const accumulation of [1, 2]) {
    const c = config(`accumulation=${accumulation}`);
    const state = new TrainingState(modelConfig(c, data), c);
    const maker = new BatchMaker(data, { seed: 0, labelDropout: 0, model: { numClasses: 2 }, flip: false });
    const batches = async (nanIn?: number) =>
      Promise.all(
        Array.from({ length: accumulation }, async (_, m) => {
          const batch = await maker.make(m * 2, 2);
          if (m === nanIn) batch.x[0] = Number.NaN;
          return upload(batch, data, state, 0);
        }),
      );
    const values = async () =>
      Promise.all(
        Object.entries(state.files)
          // What the routers did with a bad batch is counted.
          .filter(([name]) => name !== 'telemetry')
          .map(async ([, file]) => Promise.all((await file.snapshot()).map(async ({ bytes }) => [...(await bytes())]))),
      );
    await state.step(await batches(), 1e-3);
    const before = await values();
    for (let m = 0; m < accumulation; m++) expect((await state.step(await batches(m), 1e-3)).outcome).toBe('not finite');
    expect((await state.step(await batches(), 1e-3, 1e-9)).outcome).toBe('spike');
    expect(await values()).toEqual(before);
    expect((await state.step(await batches(), 1e-3)).outcome).toBe('applied');
    expect(await values()).not.toEqual(before);
    state.dispose();
  }
});
