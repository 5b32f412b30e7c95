/** Models in int8: written, read for every precision, and computed. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { int8Refusal, ParameterSet, quantizeMatrix, tensorFlowBackend } from '@dit-moe/tensor-ops';
import { openCheckpoint } from '@dit-moe/tensor-ops/io/node';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type DitConfig, isInt8Matrix, loadDit, type ModelCard, weightSpecs } from '../index.js';
import { randomNumbers, someInputs, tiny, tinyDense } from '../testing/models.js';
import { openModel, writeModel } from './index.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'int8-'));
let refusal: string | undefined;
beforeAll(async () => {
  await useTensorFlow();
  refusal = int8Refusal();
});
afterAll(() => fs.rmSync(root, { recursive: true }));

const cardOf = (config: DitConfig): ModelCard => ({ config, objective: 'flow', timeScale: 1000, classNames: ['a', 'b', 'c'], step: 3 });
const stream = (config: DitConfig) => ({
  config,
  async *weights() {
    for (const [name, value] of Object.entries(randomNumbers(config))) yield [name, value] as [string, typeof value];
  },
});
const write = (name: string, config: DitConfig, dtype?: 'I8') =>
  writeModel(path.join(root, name), stream(config), { card: cardOf(config), ...(dtype && { dtype }) });
const silent = { onWarning: () => {} };

const wide: DitConfig = { ...tiny, hiddenSize: 32 };
const models: [string, DitConfig][] = [
  ['experts', wide],
  ['GELU experts', { ...wide, moe: { ...tiny.moe!, experts: 'gelu', sharedRatio: 0 } }],
  ['dense', { ...tinyDense, hiddenSize: 32 }],
];

describe.each(models)('%s', (name, config) => {
  test('the large matrices are integers with their scales, and read as what these stand for', async () => {
    const file = await write(`${name}.safetensors`, config, 'I8');
    const model = await openModel(file);
    const given = randomNumbers(config);
    for await (const [weight, { shape, data, quantized }] of model.weights()) {
      const { data: exact } = given[weight];
      expect(shape).toEqual(weightSpecs(config)[weight].shape);
      expect(quantized !== undefined).toBe(isInt8Matrix(weight));
      if (quantized === undefined) expect(data).toEqual(exact);
      else {
        expect(quantized).toEqual(quantizeMatrix(exact, shape));
        expect(data).toBeCloseTensor(exact, Math.max(...quantized.scale));
      }
    }
    expect(model.checkpoint.names).toContain('blocks.0.attention.qkv.weight.scale');
    await model.close();
    // Written again they are the same numbers: nothing is rounded twice.
    const again = await openModel(file);
    const copy = await openModel(await writeModel(path.join(root, `${name}-again.safetensors`), again, { card: again.card!, dtype: 'I8' }));
    for (const tensor of again.checkpoint.names) expect(await copy.checkpoint.read(tensor)).toEqual(await again.checkpoint.read(tensor));
    await again.close();
    await copy.close();
  });

  test('computes near float32, from a file of either kind the same', async () => {
    const files = [await write(`${name}-f32.safetensors`, config), await write(`${name}-i8.safetensors`, config, 'I8')];
    const inputs = someInputs(config);
    const predicted = async (file: string, precision: 'f32' | 'int8'): Promise<Float32Array> => {
      const model = await openModel(file);
      const dit = await loadDit(model, model.card!, precision, () => {});
      const output = await dit.predict(...inputs);
      const values = (await output.data()) as Float32Array;
      output.dispose();
      dit.dispose();
      await model.close();
      return values;
    };
    const tensors = tf.memory().numTensors;
    const [exact, widened] = [await predicted(files[0], 'f32'), await predicted(files[1], 'f32')];
    const largest = Math.max(...exact.map(Math.abs));
    const bound = 0.05 * largest;
    expect(widened).toBeCloseTensor(exact, bound);
    expect(widened).not.toBeCloseTensor(exact, 1e-6 * largest);
    const [quantized, stored] = [await predicted(files[0], 'int8'), await predicted(files[1], 'int8')];
    expect(stored).toEqual(refusal === undefined ? quantized : widened);
    expect(quantized).toBeCloseTensor(exact, bound);
    expect(tf.memory().numTensors).toBe(tensors);
  });
});

describe('what cannot be', () => {
  test('is said in a sentence, and computed in float32', async () => {
    const model = await openModel(await write('model.safetensors', wide, 'I8'));
    const heard: string[] = [];
    const load = async (precision: 'f32' | 'int8') => (await loadDit(model, model.card!, precision, (m) => heard.push(m))).dispose();
    await load('f32');
    expect(heard.splice(0)).toEqual([expect.stringMatching(/int8 matrices, which become float32/)]);
    const backend = tensorFlowBackend()!;
    const here = backend.int8Products;
    Object.assign(backend, { int8Products: false });
    await load('int8');
    Object.assign(backend, { int8Products: here });
    expect(heard.splice(0)).toEqual([expect.stringMatching(/int8: this processor has no instructions.*float32/)]);
    await tf.setBackend('cpu');
    await load('int8');
    await tf.setBackend('tensorflow');
    expect(heard.splice(0)).toEqual([expect.stringMatching(/int8: only the TensorFlow runtime/)]);
    await model.close();
  });

  test('a file without its scales is refused with their names, another layout has no int8', async () => {
    const file = await write('whole.safetensors', wide, 'I8');
    const whole = await openCheckpoint(file);
    const without = { ...whole, names: whole.names.filter((n) => n !== 'blocks.1.moe.experts.down.scale') };
    const { readModel } = await import('../index.js');
    const model = await readModel({ ...without, info: (n) => whole.info(n), read: (n) => whole.read(n), metadata: whole.metadata });
    await expect(model.weights().next()).rejects.toThrow(/missing: blocks\.1\.moe\.experts\.down\.scale/);
    await whole.close();
    await expect(writeModel(path.join(root, 'theirs.safetensors'), stream(wide), { layout: 'qkv', dtype: 'I8' })).rejects.toThrow(
      /no int8/,
    );
    expect(fs.existsSync(path.join(root, 'theirs.safetensors'))).toBe(false);
  });
});

test('a parameter in int8 is read to the host as integers', async () => {
  if (refusal !== undefined) return;
  const model = await openModel(await write('read.safetensors', wide, 'I8'), silent);
  const { loadParameters } = await import('../index.js');
  const set = new ParameterSet(await loadParameters(model, { precision: 'int8' }));
  const { data } = randomNumbers(wide)['blocks.0.attention.qkv.weight'];
  const { shape } = weightSpecs(wide)['blocks.0.attention.qkv.weight'];
  expect([...(await set.parameters['blocks.0.attention.qkv.weight'].data())]).toEqual([...quantizeMatrix(data, shape).values]);
  set.dispose();
  await model.close();
});
