/** The table of presets and devices in docs/concepts/memory.md: `tsx --conditions=@dit-moe/source bench/train/plan-presets.ts [preset ...]`. */
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import { presets } from '../../apps/trainer/src/config/presets.js';
import { modelConfig, resolveConfig } from '../../apps/trainer/src/config/resolve.js';
import { plannedData } from '../../apps/trainer/src/planning/data-shape.js';
import { bytes } from '../../apps/trainer/src/planning/format.js';
import { planRun } from '../../apps/trainer/src/planning/run-plan.js';
import { a100, verdictsOf } from '../../apps/trainer/src/planning/verdicts.js';

const chosen = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(presets).filter((name) => /^(paper|repo)-/.test(name));
await useTensorFlow({ threads: 1 });
console.log('| preset | micro-batch | state | within a step | TFLOP per step | A100 40 GB | A100 80 GB |');
console.log('|---|---:|---:|---:|---:|---|---|');
for (const preset of chosen) {
  const config = resolveConfig({ preset, overrides: [] });
  const model = modelConfig(config, await plannedData(config));
  const { memory, flops } = planRun(config, model, { bf16Products: true });
  const verdicts = verdictsOf(config, model, a100).map(({ fits, settings }) =>
    fits ? 'fits' : settings === undefined ? '-' : settings.join(' '),
  );
  const row = [
    config.batchSize / config.accumulation,
    bytes(memory.total - memory.working),
    bytes(memory.working),
    (flops / 1e12).toPrecision(3),
  ];
  console.log(`| ${[preset, ...row, ...verdicts].join(' | ')} |`);
}
process.exit(0);
