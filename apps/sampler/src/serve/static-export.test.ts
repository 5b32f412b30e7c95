import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { openModel, writeModel } from '@dit-moe/dit/node';
import { SafetensorsFile } from '@dit-moe/tensor-ops/io/node';
import { startBackend } from '@dit-moe/tensor-ops/node';
import { decode } from 'fast-png';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { writeTinyModel } from '../../../../packages/pipeline/src/testing/tiny-model.js';
import { bundledNames } from '../bundled-models.js';
import { firstRequest } from './first-request.js';
import { ModelStore } from './model-store.js';
import { fromBase64, type SampleEvent } from './protocol.js';
import { exportStatic } from './static-export.js';

vi.mock('./page-files.js', () => ({ readPage: async () => new Map() }));
const root = fs.mkdtempSync(path.join(os.tmpdir(), 'static-export-'));
beforeAll(() => startBackend('tensorflow'));
afterAll(() => fs.rmSync(root, { recursive: true }));

test('models with similar names keep files of their own, under addresses that lead to them', async () => {
  const names = ['a b', 'a_b', 'a#b', '雪 50%', '..'];
  const models = names.map((name, i) => path.join(root, String(i), `${name}.safetensors`));
  for (const model of models) await writeTinyModel(model);
  const folder = path.join(root, 'page');
  await exportStatic(folder, await ModelStore.create(models, {}));
  const config = JSON.parse(fs.readFileSync(path.join(folder, 'config.json'), 'utf8'));
  const files: string[] = config.models.map(({ file }: { file: string }) => file);
  expect(new Set(files).size).toBe(names.length);
  for (const file of files) {
    const { pathname } = new URL(file, 'http://host/page/');
    expect(fs.existsSync(path.join(folder, decodeURIComponent(pathname.slice('/page/'.length)))), file).toBe(true);
  }
  // A model and its first pictures each, and the list of them.
  expect(fs.readdirSync(folder)).toHaveLength(2 * names.length + 1);
});

test.each(['F32', 'F16', 'BF16', 'I8'] as const)('a file in %s is written as it is', async (dtype) => {
  const [plain, file] = ['plain', 'narrow'].map((name) => path.join(root, dtype, `${name}.safetensors`));
  await writeTinyModel(plain);
  const opened = await openModel(plain);
  await writeModel(file, opened, { card: opened.card!, dtype }).finally(() => opened.close());
  const folder = path.join(root, dtype, 'page');
  await exportStatic(folder, await ModelStore.create([file], { onWarning: () => {} }));
  const [given, written] = await Promise.all([file, path.join(folder, 'narrow.safetensors')].map((name) => SafetensorsFile.open(name)));
  expect(written.names.map((name) => written.info(name).dtype)).toContain(dtype);
  expect(written.names).toEqual(given.names);
  for (const name of given.names) expect(await written.read(name)).toEqual(await given.read(name));
  await Promise.all([given.close(), written.close()]);
});

test('the models that come along are a page of a few MB', async () => {
  const folder = path.join(root, 'bundled');
  const bytes = await exportStatic(folder, await ModelStore.create(bundledNames, {}));
  expect(bytes).toBeLessThan(7e6);
  const { models } = JSON.parse(fs.readFileSync(path.join(folder, 'config.json'), 'utf8'));
  expect(models.map(({ id, file }: { id: string; file: string }) => [id, file])).toEqual(
    bundledNames.map((name) => [name, `${name}.safetensors`]),
  );
  // What the page asks for first is there, sampled by the model that it belongs to.
  for (const model of models) {
    const lines = fs
      .readFileSync(path.join(folder, decodeURIComponent(model.first)), 'utf8')
      .trimEnd()
      .split('\n');
    const done = JSON.parse(lines.at(-1)!) as Extract<SampleEvent, { type: 'done' }>;
    const { labels, steps } = firstRequest(model);
    expect([lines.length, done.images.length]).toEqual([steps! + 1, labels.length]);
    expect(JSON.parse(decode(fromBase64(done.images[0])).text['Comment'])).toMatchObject({ model: model.id, steps, label: 0 });
    expect(labels.length).toBe(18);
  }
});
