/** `plan`: what a training step needs, and on which devices it fits. Nothing is allocated or downloaded for it. */

import { describeModel } from '@dit-moe/dit';
import { exitCodes } from '@dit-moe/kit';
import { startBackend } from '@dit-moe/tensor-ops/node';
import { refuseUnevenExperts, refuseUnevenParts } from '../cluster/uneven-parts.js';
import { modelConfig, resolveConfig } from '../config/resolve.js';
import { plannedData } from '../planning/data-shape.js';
import { planRows, table, verdictRows } from '../planning/format.js';
import { planRun } from '../planning/run-plan.js';
import { a100, usedDevice, verdictsOf } from '../planning/verdicts.js';

export interface PlanFlags {
  config?: string;
  preset?: string;
  data?: string;
  set: string[];
  /** Processes that train together, each on a device of its own. */
  processes?: number;
  json: boolean;
}

export async function planCommand({ config: file, preset, data, set, processes = 1, json }: PlanFlags): Promise<number> {
  const config = resolveConfig({
    overrides: set,
    ...(preset !== undefined && { preset }),
    ...(file !== undefined && { file }),
    ...(data !== undefined && { data }),
  });
  await startBackend('tensorflow');
  const model = modelConfig(config, await plannedData(config));
  refuseUnevenParts(config, processes);
  refuseUnevenExperts(model, config.parallel, processes);
  const plan = planRun(config, model, { processes });
  const verdicts = verdictsOf(config, model, processes === 1 ? [await usedDevice(), ...a100] : a100, processes);
  const { parameters } = describeModel(model);
  if (json) console.log(JSON.stringify({ model, parameters, ...plan, verdicts }));
  else {
    const number = (n: number): string => n.toLocaleString('en', { maximumSignificantDigits: 4 });
    const micro = config.accumulation === 1 ? '' : ` = ${config.accumulation} micro-batches of ${config.batchSize / config.accumulation}`;
    console.log(
      table([
        ['parameters', `${number(parameters.total)}, ${number(parameters.active)} active per token`],
        ...(processes > 1 ? [['processes', `${processes}; what follows is of each`] as const] : []),
        ['batch', `${config.batchSize}${micro}, ${config.precision}${config.recompute ? ', blocks recomputed' : ''}`],
        ...planRows(plan),
        ...verdictRows(verdicts),
      ]),
    );
  }
  return exitCodes.ok;
}
