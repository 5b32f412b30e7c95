/**
 * Planned against measured memory of training steps, on a CPU: `tsx --conditions=@dit-moe/source bench/train/plan-accuracy.ts`.
 *
 * Each configuration runs in a process of its own: the plan first, then three steps of the trainer's state on random inputs. Measured is
 * the growth of the resident set, at its peak in the second and third step, over what the process took before the state was made.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import v8 from 'node:v8';
import vm from 'node:vm';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { modelConfig, resolveConfig } from '../../apps/trainer/src/config/resolve.js';
import { plannedData } from '../../apps/trainer/src/planning/data-shape.js';
import { planRun } from '../../apps/trainer/src/planning/run-plan.js';
import { TrainingState } from '../../apps/trainer/src/training/state.js';

/** Name, and overrides of the preset of S/2-8E2A. */
const cases: [string, string[]][] = [
  ['S/2-8E2A, batch 4', ['batchSize=4', 'accumulation=1', 'precision=f32']],
  ['S/2-8E2A, batch 16, recomputed', ['batchSize=16', 'accumulation=1', 'precision=f32', 'recompute=true']],
  ['S/2-8E2A, batch 8 in two, accumulated', ['batchSize=8', 'accumulation=2', 'precision=f32']],
  ['S/2 dense, batch 16', ['batchSize=16', 'accumulation=1', 'precision=f32', 'model={preset: S/2, moe: null}']],
];
const GIB = 2 ** 30;
const status = (key: string) => 1024 * Number(new RegExp(`${key}:\\s+(\\d+)`).exec(fs.readFileSync('/proc/self/status', 'utf8'))![1]);

if (process.argv[2] === undefined) {
  console.log('| configuration | state, GiB | within a step: planned | measured | measured / planned | total: planned | measured |');
  console.log('|---|---:|---:|---:|---:|---:|---:|');
  for (const [at] of cases.entries()) {
    const child = spawnSync(process.execPath, [...process.execArgv, fileURLToPath(import.meta.url), String(at)], { encoding: 'utf8' });
    if (child.status !== 0) throw new Error(child.stderr);
    console.log(child.stdout.trim());
  }
} else {
  await useTensorFlow({ threads: 2 });
  const [name, overrides] = cases[Number(process.argv[2])];
  const config = resolveConfig({ preset: 'repo-s-2-8e2a-256', overrides: [...overrides, 'ema=[0.9999]'] });
  const model = modelConfig(config, await plannedData(config));
  const { memory } = planRun(config, model);
  const before = status('VmRSS');
  const state = new TrainingState(model, config);
  const batch = () => {
    const size = config.batchSize / config.accumulation;
    const indices = Array.from({ length: size }, (_, i) => i);
    const images = () => tf.randomNormal([size, model.inChannels, ...model.inputSize]);
    const drawn = state.objective.draw({ seed: 0, purpose: 'bench', indices });
    return { x: images(), noise: images(), drawn, y: tf.tensor1d(indices, 'int32') };
  };
  const batches = () => Array.from({ length: config.accumulation }, batch);
  await state.step(batches(), 1e-4);
  const own = memory.total - memory.working;
  // Weights were drawn on the host.
  v8.setFlagsFromString('--expose-gc');
  vm.runInNewContext('gc')();
  fs.writeFileSync('/proc/self/clear_refs', '5'); // The peak starts anew at what is resident now.
  for (let i = 0; i < 2; i++) await state.step(batches(), 1e-4);
  const peak = status('VmHWM') - before;
  const gib = (n: number) => (n / GIB).toFixed(2);
  const row = [
    name,
    gib(own),
    gib(memory.working),
    gib(peak - own),
    ((peak - own) / memory.working).toFixed(2),
    gib(memory.total),
    gib(peak),
  ];
  console.log(`| ${row.join(' | ')} |`);
  process.exit(0);
}
