/** Weights come to the device tensor by tensor: opening a model, starting from one and resuming a run take little beside what stays. */
import fs from 'node:fs';
import path from 'node:path';
import { loadDit, type ModelCard } from '@dit-moe/dit';
import { openModel } from '@dit-moe/dit/node';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { collectGarbage } from '../../../../packages/tensor-ops/test/resident-growth.js';
import { returnFreedMemory } from '../../../../packages/tensor-ops/test/return-freed-memory.js';
import { modelConfig, resolveConfig } from '../config/resolve.js';
import { makeRoot } from '../testing/tiny-run.js';
import { CheckpointWriter, restoreLatest } from './checkpoints.js';
import { loadInitialWeights } from './initial-weights.js';
import { Ranks } from './ranks.js';
import { newRecord } from './run-record.js';
import { TrainingState } from './state.js';

const { root } = makeRoot();
beforeAll(() => useTensorFlow());
afterAll(() => fs.rmSync(root, { recursive: true }));

const MIB = 2 ** 20;
/** A tensor as it is read, and on its way to the device; MiB of arrays that the collector has not yet freed. */
const [LARGEST_TIMES, GARBAGE] = [3, 8];

const status = (name: 'VmHWM' | 'VmRSS'): number =>
  Number(new RegExp(`${name}:\\s+(\\d+)`).exec(fs.readFileSync('/proc/self/status', 'utf8'))![1]) / 1024;

interface Memory<T> {
  results: T[];
  kept: number;
  beside: number;
}

/**
 * MiB that the process has more after `work`, and that it took beside those at most while it ran: the smallest of three rounds, since
 * garbage that is not collected in time counts as well. All results are kept, so that none lies in the memory of one before.
 */
async function memoryOf<T>(work: () => Promise<T>): Promise<Memory<T>> {
  const rounds: { result: T; kept: number; beside: number }[] = [];
  for (let i = 0; i < 3; i++) {
    collectGarbage();
    fs.writeFileSync('/proc/self/clear_refs', '5'); // The peak begins anew.
    const before = status('VmRSS');
    const result = await work();
    const most = status('VmHWM');
    collectGarbage();
    const after = status('VmRSS');
    rounds.push({ result, kept: after - before, beside: most - Math.max(before, after) });
  }
  const smallest = (of: 'kept' | 'beside') => Math.min(...rounds.map((round) => round[of]));
  return { results: rounds.map(({ result }) => result), kept: smallest('kept'), beside: smallest('beside') };
}

// The only source of a process' peak is /proc, so this runs on Linux.
test.skipIf(process.platform !== 'linux')('no more than a few tensors lie on the host at once', async () => {
  returnFreedMemory();
  const experts = { numExperts: 8, topK: 2 };
  const size = { patchSize: 2, hiddenSize: 192, depth: 4, numHeads: 3 };
  const overrides = [`model=${JSON.stringify({ ...size, moe: experts })}`, 'ema=[0.9]', 'batchSize=2', 'objective={kind: flow}'];
  const config = resolveConfig({ data: 'none', overrides });
  const classNames = Array.from({ length: 10 }, (_, i) => String(i));
  const model = modelConfig(config, { channels: 4, height: 16, width: 16, classNames });
  const card: ModelCard = { config: model, objective: 'flow', step: 1, timeScale: 1000, objectiveOptions: { kind: 'flow' }, classNames };
  const state = new TrainingState(model, config);
  const sizes = Object.values(state.parameters).map(({ shape }) => (4 * shape.reduce((a, b) => a * b, 1)) / MIB);
  const whole = sizes.reduce((a, b) => a + b);
  const run = path.join(root, 'run');
  const writer = new CheckpointWriter(run, { keep: 1 }, (error) => console.error(error), console.warn);
  await writer.save(state, card, { ...newRecord(), step: 1 }, '', new Ranks(undefined));
  await writer.settle();

  const most = LARGEST_TIMES * Math.max(...sizes) + GARBAGE;
  expect(most).toBeLessThan(0.6 * whole);
  const file = await openModel(run);
  const opened = await memoryOf(() => loadDit(file, card));
  expect(opened.kept).toBeLessThan(whole + most);
  const start = () => loadInitialWeights(state, run, classNames, console.warn);
  // Memory of a state that was never touched is not there yet.
  await start();
  const started = await memoryOf(start);
  expect(started.kept).toBeLessThan(most);
  const resumed = await memoryOf(() => restoreLatest(run, state, console.warn));
  for (const { beside } of [opened, started, resumed]) expect(beside).toBeLessThan(most);
  await file.close();
  for (const model of opened.results) model.dispose();
  state.dispose();
});
