/**
 * Time and memory of recording a training step, each in a process of its own:
 * `tsx --conditions=@dit-moe/source bench/train/recording.ts`. Both halves of a step, with the plan made of them; no weights are made.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import { modelConfig, resolveConfig } from '../../apps/trainer/src/config/resolve.js';
import { plannedData } from '../../apps/trainer/src/planning/data-shape.js';
import { planRun } from '../../apps/trainer/src/planning/run-plan.js';
import { ownPeak } from '../harness/own-peak.js';

/** Name, preset, and what differs from it. */
const cases: [string, string, string[]][] = [
  ['S/2-8E2A, batch 4', 'repo-s-2-8e2a-256', ['batchSize=4', 'recompute=false']],
  ['B/2-8E2A, batch 8', 'repo-b-2-8e2a-256', ['batchSize=8', 'recompute=false']],
  ['L/2-8E2A, batch 8', 'repo-l-2-8e2a-256', ['batchSize=8', 'recompute=false']],
  ['XL/2-8E2A, batch 8', 'repo-xl-2-8e2a-256', ['batchSize=8', 'recompute=false']],
  ['G/2-16E2A, batch 8, recomputed', 'repo-g-2-16e2a-256', ['batchSize=8', 'recompute=true']],
];

if (process.argv[2] === undefined) {
  console.log('| step | ops | CPU s | MiB added |');
  console.log('|---|---:|---:|---:|');
  for (const [at] of cases.entries()) {
    const child = spawnSync(process.execPath, [...process.execArgv, fileURLToPath(import.meta.url), String(at)], { encoding: 'utf8' });
    if (child.status !== 0) throw new Error(child.stderr);
    console.log(child.stdout.trim());
  }
} else {
  await useTensorFlow({ threads: 1 });
  const [name, preset, overrides] = cases[Number(process.argv[2])];
  const config = resolveConfig({ preset, overrides: [...overrides, 'accumulation=1', 'precision=f32', 'ema=[0.9999]'] });
  const model = modelConfig(config, await plannedData(config));
  const [before, start] = [ownPeak(), process.cpuUsage()];
  const { ops } = planRun(config, model);
  const { user, system } = process.cpuUsage(start);
  console.log(`| ${[name, ops.toLocaleString('en'), ((user + system) / 1e6).toFixed(1), (ownPeak() - before).toFixed(0)].join(' | ')} |`);
  process.exit(0);
}
