import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { preset } from '@dit-moe/dit';
import { expect, test, vi } from 'vitest';
import { BATCH, MODEL } from '../engine/model.js';
import { LoadedMachineError, run } from '../report.js';
import { drawRatios, reportPage } from './page.js';
import { blockProducts } from './products.js';
import { machineName, readRecords, type SpeedRecord, withEarlier } from './record.js';

const record: SpeedRecord = {
  ...{
    date: '2026-11-30',
    processor: 'Some Processor',
    instructions: ['avx2'],
    cores: 2,
    gibibytes: 24,
    versions: { Node: '24.1.0' },
    load: 0.4,
  },
  minutes: 17.2,
  rows: [
    {
      section: 'train-f32',
      commit: 'abc',
      name: 'train-f32',
      against: 'PyTorch',
      value: 2.054,
      unit: 'images/s',
      peer: 1.9,
      ratio: 1.081,
      share: 0.714,
    },
    {
      section: 'train-f32',
      commit: 'abc',
      name: 'memory-train-f32',
      against: 'PyTorch',
      value: 3893.4,
      unit: 'MiB',
      peer: null,
      ratio: null,
    },
  ],
  failed: [{ section: 'train-bf16', reason: 'no memory' }],
};
const log = () => {};

test('a loaded machine is refused before anything is run, as is a section that there is not', async () => {
  const load = vi.spyOn(os, 'loadavg').mockReturnValue([1.5, 0, 0]);
  const refused = await run({ quick: true, log }).catch((error: unknown) => error);
  expect(LoadedMachineError.isInstance(refused)).toBe(true);
  expect(refused).toMatchObject({ code: 'E_LOADED_MACHINE', message: expect.stringMatching(/1\.50.*other programs/) });
  for (const only of ['walk', 'memory,walk']) await expect(run({ quick: true, only, log })).rejects.toThrow(/no section "walk": train-f32/);
  load.mockRestore();
});

test('the page has every number, a dash for none, and what failed', () => {
  const page = reportPage(record, '../figures/speed.svg');
  expect(page).toContain('| `train-f32` | 2.05 images/s | 1.90 (PyTorch) | 1.08 | 71 % |');
  expect(page).toContain('| `memory-train-f32` | 3893 MiB |  |  |  |');
  expect(page).toContain('| commit | abc |');
  expect(page).toContain('Not measured: `train-bf16`, because of "no memory".');
  expect(page).toContain('![Ratios over time](../figures/speed.svg)');
  expect(reportPage(record, undefined)).not.toContain('figures');
});

test('records are read in order, and drawn once there are two days', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'records-'));
  const write = (date: string) => fs.writeFileSync(path.join(folder, `${date}-some-2-cores.json`), JSON.stringify({ ...record, date }));
  expect(readRecords(path.join(folder, 'none'))).toEqual([]);
  write('2026-12-02');
  expect(drawRatios(readRecords(folder))).toBeUndefined();
  write('2026-11-30');
  fs.writeFileSync(path.join(folder, 'notes.json'), 'none of them');
  const records = readRecords(folder);
  expect(records.map(({ date }) => date)).toEqual(['2026-11-30', '2026-12-02']);
  const chart = drawRatios(records);
  expect(chart).toMatch(/^<svg /);
  expect(chart).toContain('train-f32');
  fs.rmSync(folder, { recursive: true });
});

test('machines have names of their own', () => {
  const names = ['Intel(R) Xeon(R) Processor', 'Intel(R) Xeon(R) CPU E5-2670 v3 @ 2.30GHz', 'AMD EPYC 9R14 96-Core Processor'];
  expect(names.map((processor) => machineName({ processor, cores: 2 }))).toEqual([
    'intel-xeon-2-cores',
    'intel-xeon-e5-2670-v3-2-cores',
    'amd-epyc-9r14-2-cores',
  ]);
});

test('sections of a later run take the place of those of the day, failed ones too', () => {
  const row = {
    section: 'train-bf16',
    commit: 'def',
    name: 'train-bf16',
    against: 'PyTorch',
    value: 3,
    unit: 'images/s',
    peer: 2,
    ratio: 1.5,
  };
  const later = { ...record, load: 0.2, minutes: 4, rows: [row], failed: [] };
  const both = withEarlier(later, record, ['train-bf16', 'train-f32']);
  expect(both).toMatchObject({ load: 0.4, failed: [] });
  expect(reportPage(both, undefined)).toContain('| commit | def (train-bf16); abc (train-f32) |');
  expect(both.minutes).toBeCloseTo(21.2);
  expect(both.rows.map(({ name }) => name)).toEqual(['train-bf16', 'train-f32', 'memory-train-f32']);
  expect(withEarlier({ ...later, rows: [], failed: [{ section: 'train-f32', reason: 'x' }] }, record, []).rows).toEqual([]);
});

test("the products of a model's blocks are those of a forward pass, 128 GFLOP of S/2-8E2A", () => {
  const config = preset(MODEL);
  const flops = blockProducts(config, BATCH).reduce((sum, { batch = 1, m, k, n, count }) => sum + 2 * batch * m * k * n * count, 0);
  expect((config.depth * flops) / 1e9).toBeCloseTo(128, -1);
});
