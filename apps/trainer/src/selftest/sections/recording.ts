/** XL/2-8E2A, recorded and planned without weights. */

import { modelConfig, resolveConfig } from '../../config/resolve.js';
import { plannedData } from '../../planning/data-shape.js';
import { bytes } from '../../planning/format.js';
import { planRun } from '../../planning/run-plan.js';
import { atMost, type Finding, measured } from '../finding.js';

/** Bytes that a recording may take; one that computed or kept results would need fifty times as much. */
const LIMIT_MIB = 1024;

export async function recording(): Promise<Finding[]> {
  const config = resolveConfig({ preset: 'repo-xl-2-8e2a-256', overrides: [] });
  const model = modelConfig(config, await plannedData(config));
  const [before, start] = [process.memoryUsage.rss(), performance.now()];
  const plan = planRun(config, model);
  const seconds = (performance.now() - start) / 1000;
  const mebibytes = Math.max(0, process.memoryUsage.rss() - before) / 2 ** 20;
  return [
    measured('XL/2-8E2A, both halves of a step', `${plan.ops.toLocaleString('en')} ops in ${seconds.toFixed(1)} s`),
    atMost('memory of the recording, MiB', mebibytes, LIMIT_MIB),
    measured('planned for a step', `${bytes(plan.memory.total)}, ${(plan.flops / 1e12).toPrecision(3)} TFLOP`),
  ];
}
