import fs from 'node:fs';
import path from 'node:path';
import { importWeights, isMatrix } from '@dit-moe/dit';
import { openModel, writeModel } from '@dit-moe/dit/node';
import { hashFile, openCheckpoint, SafetensorsFile, writeSafetensors } from '@dit-moe/tensor-ops/io/node';
import { startBackend } from '@dit-moe/tensor-ops/node';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import YAML from 'yaml';
import { exportCommand } from '../commands/export.js';
import { inspectCommand } from '../commands/inspect.js';
import { reduceCommand } from '../commands/reduce.js';
import { upcycleCommand } from '../commands/upcycle.js';
import { resolveConfig } from '../config/resolve.js';
import { checkpointFolder, makeRoot, metricsLines, runTiny, tinyConfig } from '../testing/tiny-run.js';

const { root, images, newRun } = makeRoot();
const run = newRun();
beforeAll(async () => {
  await startBackend('tensorflow');
  await runTiny(tinyConfig(images, 'ema=[0.5,0.9]'), run);
});
afterAll(() => fs.rmSync(root, { recursive: true }));
afterEach(() => void vi.restoreAllMocks());

const read = async (file: string) => {
  const open = await openCheckpoint(file);
  const tensors = new Map<string, { shape: readonly number[]; dtype: string; data: Float32Array }>();
  for (const name of open.names) tensors.set(name, (await open.read(name)) as never);
  await open.close();
  return tensors;
};
const printed = async (command: () => Promise<number>) => {
  const log = vi.spyOn(console, 'log').mockImplementation(() => {});
  expect(await command()).toBe(0);
  const text = log.mock.calls.map(([line]) => line).join('\n');
  log.mockRestore();
  return text;
};
const exportTo = (out: string, flags: object) =>
  printed(() => exportCommand(run, { to: 'bundle', weights: 'ema', json: true, out: path.join(root, out), ...flags }));

describe('export', () => {
  test.each([
    ['bundle', 'ended'],
    ['safetensors', 'ended.safetensors'],
  ] as const)('as %s is ended by a signal with its code, and leaves nothing', async (to, name) => {
    const folder = path.join(root, `signal-${to}`);
    fs.mkdirSync(folder);
    // In the middle of writing, after some of the tensors.
    const { read } = SafetensorsFile.prototype;
    let reads = 0;
    vi.spyOn(SafetensorsFile.prototype, 'read').mockImplementation(function (this: SafetensorsFile, tensor: string) {
      if (++reads === 5) process.emit('SIGTERM', 'SIGTERM');
      return read.call(this, tensor);
    });
    const error = vi.spyOn(console, 'error').mockReturnValue();
    expect(await exportCommand(run, { to, weights: 'ema', json: true, out: path.join(folder, name) })).toBe(143);
    expect(error.mock.calls.flat()).toContainEqual('SIGTERM: ending; nothing is written.');
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  test.each(['a.pt', 'a.safetensors'])('%s in the layout of the reference comes back bit for bit', async (out) => {
    await exportTo(out, { to: 'reference', weights: 'ema-0.9' });
    const ours = await read(path.join(checkpointFolder(run, 4), 'ema-0.9.safetensors'));
    const { config, close } = await openModel(run, { weights: 'ema-0.9' });
    await close();
    const theirs = await openCheckpoint(path.join(root, out));
    let count = 0;
    for await (const [name, { data }] of importWeights(config, theirs)) {
      expect(data, name).toEqual(ours.get(name)!.data);
      count++;
    }
    await theirs.close();
    expect(count).toBe(ours.size);
  });

  test('a dense model in the layout of diffusers comes back bit for bit, and one with experts is refused', async () => {
    const [dense, out] = [newRun(), path.join(root, 'diffusers')];
    await runTiny(tinyConfig(images, 'model.moe=null', 'model.timestepFrequencies=diffusers', 'objective.kind=ddpm', 'steps=1'), dense);
    await printed(() => exportCommand(dense, { to: 'diffusers', weights: 'weights', json: true, out }));
    const ours = await read(path.join(checkpointFolder(dense, 1), 'weights.safetensors'));
    const { config, close } = await openModel(dense, { weights: 'weights' });
    await close();
    const theirs = await openCheckpoint(out);
    expect(theirs.names).toContain('transformer_blocks.0.attn1.to_q.weight');
    const back = new Map<string, unknown>();
    for await (const [name, { data }] of importWeights(config, theirs)) back.set(name, data);
    await theirs.close();
    expect(back).toEqual(new Map([...ours].map(([name, { data }]) => [name, data])));
    expect(JSON.parse(fs.readFileSync(path.join(out, 'config.json'), 'utf8'))).toMatchObject({ _class_name: 'DiTTransformer2DModel' });
    await expect(exportTo('moe', { to: 'diffusers' })).rejects.toMatchObject({ message: expect.stringMatching(/diffusers/) });
    expect(fs.existsSync(path.join(root, 'moe'))).toBe(false);
    await expect(exportTo('x.safetensors', { to: 'diffusers' })).rejects.toThrow(/writes a folder/);
  });

  test('a bundle has weights in bf16 but for router, biases and tables, a card for people and the samples', async () => {
    fs.writeFileSync(path.join(root, 'SOURCE.txt'), 'Drawn by this test, CC0.\n');
    await exportTo('bundle', {});
    const tensors = await read(path.join(root, 'bundle', 'model.safetensors'));
    for (const [name, { dtype }] of tensors) expect(dtype, name).toBe(isMatrix(name) ? 'BF16' : 'F32');
    const ours = await read(path.join(checkpointFolder(run, 4), 'ema.safetensors'));
    for (const [name, { data }] of tensors)
      for (const [i, value] of data.entries())
        expect(Math.abs(value - ours.get(name)!.data[i])).toBeLessThanOrEqual(2 ** -8 * Math.abs(value) + 1e-9);
    const readme = fs.readFileSync(path.join(root, 'bundle', 'README.md'), 'utf8');
    const sha256 = await hashFile(path.join(root, 'bundle', 'model.safetensors'));
    const source = '## Data\n\nDrawn by this test, CC0.\n';
    for (const part of [
      '3 routed, 2 per token',
      'average 0.5, matrices in bf16',
      'dark, light',
      'training loss',
      'samples.png',
      source,
      sha256,
    ])
      expect(readme).toContain(part);
    for (const name of ['README.md', 'config.json']) expect(fs.readFileSync(path.join(root, 'bundle', name), 'utf8')).not.toContain(root);
    expect(fs.readdirSync(path.join(root, 'bundle')).sort()).toEqual(['README.md', 'config.json', 'model.safetensors', 'samples.png']);
  });

  test('the page of a bundle has licence, data and evaluation, in the head that the hub reads, too', async () => {
    const record = {
      ...{ format: 1, samples: { count: 2000 }, reference: { path: '/data/test', count: 500 }, skipped: {}, warnings: [] },
      ...{
        network: { name: 'pixels', description: 'pixels | averaged' },
        metrics: { fd: { distance: 1.25 }, kd: { mean: 0.5, std: 0.1 } },
      },
    };
    const evaluation = path.join(root, 'evaluation.json');
    fs.writeFileSync(evaluation, JSON.stringify(record));
    const measured = newRun();
    const more = ['evaluation={every: 4, samples: 6}', 'validation={share: 0.34, every: 4, samples: 4}', 'labelDropout=0.1'];
    await runTiny(tinyConfig(images, ...more), measured);
    const out = path.join(root, 'page');
    await printed(() =>
      exportCommand(measured, { to: 'bundle', weights: 'ema', json: true, out, license: 'cc-by-4.0', evaluation: [evaluation] }),
    );
    const page = fs.readFileSync(path.join(out, 'README.md'), 'utf8');
    const [, head] = /^---\n(.*?)---\n/s.exec(page)!;
    const { license, pipeline_tag, 'model-index': index } = YAML.parse(head);
    expect([license, pipeline_tag]).toEqual(['cc-by-4.0', 'unconditional-image-generation']);
    const [{ name, results }] = index;
    expect(name).toBe('DiT-MoE, step 4');
    expect(results.map(({ dataset }: { dataset: object }) => dataset)).toEqual([
      { type: 'test', name: 'test' },
      { type: 'images', name: 'images' },
    ]);
    expect(results[0].metrics[0]).toEqual({
      ...{ type: 'fd-pixels', value: 1.25, name: 'FD (pixels), 2,000 samples against 500 images, pixels | averaged' },
    });
    expect(results[1].metrics.map(({ type }: { type: string }) => type)).toContain('held-out-loss');
    for (const part of ['## Licence\n\n`cc-by-4.0`', '| FD (pixels) | 1.2500 |', 'pixels \\| averaged', 'online, step 4, 6 samples'])
      expect(page).toContain(part);
    const bare = fs.readFileSync(path.join(root, 'bundle', 'README.md'), 'utf8');
    for (const part of ['None is given', 'These weights have not been evaluated.']) expect(bare).toContain(part);
  });

  test('what stands on a page is refused for other formats, and what is no licence or record', async () => {
    const foreign = path.join(root, 'SOURCE.txt');
    await expect(exportTo('z.safetensors', { to: 'safetensors', license: 'mit' })).rejects.toThrow(/page of a bundle/);
    await expect(exportTo('z', { license: 'my own' })).rejects.toThrow(/an identifier such as/);
    await expect(exportTo('z', { evaluation: [foreign] })).rejects.toThrow(/is not a record of "dit-moe-sampler evaluate --out"/);
    expect(fs.existsSync(path.join(root, 'z'))).toBe(false);
  });

  test('refuses what is there already, a missing average, and foreign files', async () => {
    fs.writeFileSync(path.join(root, 'taken'), '');
    await expect(exportTo('taken', {})).rejects.toMatchObject({ code: 'E_OUTPUT' });
    await expect(exportTo('x', { weights: 'ema-0.7' })).rejects.toThrow(/one of .*ema-0\.9/);
    await expect(exportTo('x.bin', { to: 'reference' })).rejects.toMatchObject({ code: 'E_USAGE' });
    expect(fs.existsSync(path.join(root, 'x.bin'))).toBe(false);
    fs.writeFileSync(path.join(root, 'foreign.safetensors'), 'no');
    await expect(
      exportCommand(path.join(root, 'foreign.safetensors'), { to: 'bundle', weights: 'ema', json: true, out: path.join(root, 'y') }),
    ).rejects.toMatchObject({
      code: 'E_FORMAT',
    });
  });
});

describe('inspect', () => {
  const inspect = (location: string, flags: object = {}) =>
    printed(() => inspectCommand(location, { weights: 'ema', tensors: false, stats: false, json: true, ...flags }));

  test('a run: model, verified manifest, routing, statistics of the tensors', async () => {
    const facts = JSON.parse(await inspect(run, { stats: true }));
    expect(facts).toMatchObject({ format: 'safetensors', layout: 'dit-moe', card: { step: 4, classNames: ['dark', 'light'] } });
    expect(facts.manifest.record).toMatchObject({ step: 4, position: 16 });
    expect(facts.routing).toHaveLength(1);
    expect(facts.routing[0].load).toHaveLength(3);
    const bias = facts.tensors.find(({ name }: { name: string }) => name === 'patchEmbedding.bias');
    expect(bias).toMatchObject({ dtype: 'F32', shape: [8], notFinite: 0 });
    expect(await inspect(run, { json: false, tensors: true })).toMatch(/experts +3, 2 per token[\s\S]*patchEmbedding\.bias +F32 +\[8\]/);
  });

  test('a file of the reference, and damage', async () => {
    await exportTo('inspected.pt', { to: 'reference' });
    expect(JSON.parse(await inspect(path.join(root, 'inspected.pt')))).toMatchObject({ format: 'torch', layout: 'qkv' });
    const copy = newRun();
    fs.cpSync(run, copy, { recursive: true });
    const file = path.join(checkpointFolder(copy, 4), 'ema.safetensors');
    const bytes = fs.readFileSync(file);
    bytes[bytes.length - 1] ^= 1;
    fs.writeFileSync(file, bytes);
    await expect(inspect(copy)).rejects.toMatchObject({ code: 'E_CHECKPOINT_DAMAGED', message: expect.stringMatching(/damaged/) });
    await expect(inspect(path.join(root, 'nowhere'))).rejects.toMatchObject({ code: 'E_FORMAT' });
  });
});

test('upcycling: the first loss of the run that starts from it is that of the dense model, and another model is refused', async () => {
  const dense = newRun();
  await runTiny(tinyConfig(images, 'model.moe=null', 'steps=30', 'ema=[0]', 'optimizer.learningRate=1e-2'), dense);
  const out = path.join(root, 'upcycled.safetensors');
  const flags = { experts: 4, topK: 2, granularity: 1, shared: 0, noise: 0, normalize: true, seed: 0, out, json: true };
  const result = JSON.parse(await printed(() => upcycleCommand(dense, flags)));
  expect(result.parameters.total).toBeGreaterThan(result.parameters.before);
  const sparse = newRun();
  // The dense run's step 31 and the sparse run's step 1 see other samples; so both start from the same weights at step 1.
  const again = newRun();
  await runTiny(tinyConfig(images, 'model.moe=null', `initialWeights=${dense}`, 'steps=1', 'ema=[0]'), again);
  // The configuration that was written trains as it is.
  const { loss } = await runTiny(resolveConfig({ file: result.config, overrides: ['steps=1'] }), sparse);
  const expected = metricsLines(again)[0].loss;
  // Renormalised copies compute the same up to rounding.
  expect(Math.abs(loss / expected - 1)).toBeLessThan(1e-5);
  await expect(runTiny(tinyConfig(images, `initialWeights=${out}`, 'steps=1'), newRun())).rejects.toMatchObject({
    code: 'E_CHECKPOINT',
    message: expect.stringMatching(/another model: .*wanted/),
  });
});

test('upcycling a file of no run: its configuration trains as it is on data of its kind', async () => {
  const [dense, alone] = [newRun(), path.join(root, 'alone.safetensors')];
  await runTiny(
    tinyConfig(images, 'model.moe=null', 'objective={kind: flow, prediction: start, weighting: velocity, timeScale: 1000}'),
    dense,
  );
  await printed(() => exportCommand(dense, { to: 'safetensors', weights: 'ema', json: true, out: alone }));
  const flags = { experts: 4, topK: 2, granularity: 2, shared: 1, noise: 0, normalize: false, seed: 0, json: false };
  const text = await printed(() => upcycleCommand(alone, { ...flags, out: path.join(root, 'from-alone.safetensors') }));
  expect(text).toContain(`Train on with: dit-moe-trainer train ${path.join(root, 'from-alone.yaml')} --data <path> --out <folder>`);
  const config = resolveConfig({ file: path.join(root, 'from-alone.yaml'), data: images, overrides: ['steps=2', 'batchSize=4'] });
  expect(config.objective).toEqual({ kind: 'flow', learnSigma: false, prediction: 'start', weighting: 'velocity', timeScale: 1000 });
  const { step, loss } = await runTiny(config, newRun());
  expect([step, Number.isFinite(loss)]).toEqual([2, true]);
});

test('fewer experts: the configuration distils the larger model into the smaller one, and what is not known is asked for', async () => {
  const out = path.join(root, 'fewer.safetensors');
  const flags = { keep: 2, method: 'merge' as const, out, json: true };
  const result = JSON.parse(await printed(() => reduceCommand(run, flags)));
  expect(result.model.moe.numExperts).toBe(2);
  const config = resolveConfig({ file: result.config, overrides: ['steps=2'] });
  expect(config.distillation).toMatchObject({ teacher: run });
  const small = newRun();
  await runTiny(config, small);
  expect(metricsLines(small)[1].distillation.output).toBeGreaterThan(0);
  await expect(reduceCommand(run, flags)).rejects.toMatchObject({ code: 'E_OUTPUT' });
  await expect(reduceCommand(run, { ...flags, keep: 4, out: path.join(root, 'more.safetensors') })).rejects.toThrow(/keep.*2.*to 3/);
  await expect(reduceCommand(out, { ...flags, out: path.join(root, 'again.safetensors') })).rejects.toThrow(/--load/);
});

test('a model of others: what its file does not say is asked for, and told by the options of the sampler', async () => {
  const [foreign, load] = [path.join(root, 'foreign.safetensors'), path.join(run, 'routing.json')];
  await exportTo('recorded.safetensors', { to: 'reference' });
  // Bare tensors, without what the export records beside them.
  const tensors = [...(await read(path.join(root, 'recorded.safetensors')))].map(([name, { shape, data }]) => ({
    ...{ name, shape, dtype: 'F32' as const },
    bytes: () => new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  }));
  await writeSafetensors(foreign, tensors);
  const flags = { keep: 2, method: 'prune' as const, load, json: true };
  const told = { heads: 2, config: { numClasses: 3 }, objective: 'flow' as const, timeScale: 1000 };
  const out = path.join(root, 'fewer-foreign.safetensors');
  await expect(reduceCommand(foreign, { ...flags, out })).rejects.toThrow(/--heads/);
  await expect(reduceCommand(foreign, { ...flags, heads: 2, out })).rejects.toThrow(/--objective/);
  expect(fs.existsSync(out)).toBe(false);
  const { config, model } = JSON.parse(await printed(() => reduceCommand(foreign, { ...flags, ...told, out })));
  expect(model).toMatchObject({ numHeads: 2, numClasses: 3, moe: { numExperts: 2 } });
  expect(YAML.parse(fs.readFileSync(config, 'utf8'))).toMatchObject({ objective: { kind: 'flow', timeScale: 1000 } });
});

test('nothing goes on from a model with the time and velocity of SiT', async () => {
  const [sit, upcycled] = [path.join(root, 'sit.safetensors'), path.join(root, 'from-sit.safetensors')];
  const dense = newRun();
  await runTiny(tinyConfig(images, 'model.moe=null', 'steps=1'), dense);
  await printed(() => exportCommand(dense, { to: 'reference', weights: 'ema', json: true, out: sit }));
  const flags = { experts: 4, topK: 2, granularity: 1, shared: 0, noise: 0, normalize: true, seed: 0, out: upcycled, json: true };
  const refusal = { code: 'E_CHECKPOINT', message: expect.stringMatching(/SiT.* the other way/) };
  await expect(upcycleCommand(sit, { ...flags, convention: 'sit' })).rejects.toMatchObject(refusal);
  expect(fs.existsSync(upcycled)).toBe(false);
  // Also from a file of ours that says so.
  const model = await openModel(dense);
  await writeModel(upcycled, model, { card: { ...model.card!, convention: 'sit' } });
  await model.close();
  await expect(runTiny(tinyConfig(images, 'model.moe=null', `initialWeights=${upcycled}`), newRun())).rejects.toMatchObject(refusal);
});
