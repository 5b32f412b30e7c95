/** What pages say of presets that were planned and not run: memory, time, files, as the planner has them today. */
import fs from 'node:fs';
import path from 'node:path';
import { describeModel } from '@dit-moe/dit';
import { type TensorFlowRuntime, useTensorFlow } from '@dit-moe/tensor-ops/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { modelConfig, resolveConfig } from '../apps/trainer/src/config/resolve.js';
import { checkpointBytes, secondsOnA100 } from '../apps/trainer/src/planning/costs.js';
import { plannedData } from '../apps/trainer/src/planning/data-shape.js';
import { bytes, duration } from '../apps/trainer/src/planning/format.js';
import { verdictsOf } from '../apps/trainer/src/planning/verdicts.js';
import { root } from '../release/packages.js';

let runtime: TensorFlowRuntime;
beforeAll(async () => {
  runtime = await useTensorFlow();
});
afterAll(() => runtime.shutdown());

const gpu = (gb: number) => ({ name: `${gb} GB`, bytes: gb * 1e9, bf16Products: true });
const millions = (n: number): string => `${(n / 1e6).toFixed(1)} M`;
const cells = (line: string): string[] =>
  line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim());
/** Rows of a page's tables. */
const rowsOf = (page: string): string[][] =>
  fs
    .readFileSync(path.join(root, 'docs', page), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map(cells);

/**
 * A preset with ImageNet's classes, as `plan` and the dry run have it without data.
 * @param gbs memory of the GPUs that it is compared with
 */
async function planned(preset: string, gbs: readonly number[], overrides: string[] = []) {
  const config = resolveConfig({ preset, overrides });
  const model = modelConfig(config, await plannedData(config));
  const { parameters, gmac } = describeModel(model);
  const time = duration(secondsOnA100(config, gmac.total));
  return { config, parameters, verdicts: verdictsOf(config, model, gbs.map(gpu)), time, files: checkpointBytes(config, parameters.total) };
}

test('own images: what each preset needs, and what makes it fit a smaller GPU', async () => {
  const rows = rowsOf('start/your-images.md');
  const gbs = [4, 8, 16];
  const presets = ['images-64', 'images-128', 'images-256'];
  const cellsOf = new Map<string, string[]>();
  for (const preset of ['images-64-small', ...presets]) {
    const { config, parameters, verdicts } = await planned(preset, gbs);
    // All in GiB, so that the column has one unit.
    const needs = `${(verdicts[0].needs / 2 ** 30).toFixed(1)} GiB`;
    const numbers = [`${millions(parameters.total)}, ${millions(parameters.active)}`, String(config.batchSize), needs];
    expect(rows.find((row) => row[1] === `\`${preset}\``)?.slice(3), preset).toEqual(numbers);
    const fitting = verdicts.map(async ({ fits, settings }, i) => {
      if (fits) return 'as it is';
      const [{ needs }] = (await planned(preset, [gbs[i]], settings)).verdicts;
      return `\`${settings!.join(' ')}\`: ${bytes(needs)}`;
    });
    cellsOf.set(preset, await Promise.all(fitting));
  }
  for (const [i, gb] of gbs.entries()) {
    const expected = presets.map((preset) => cellsOf.get(preset)![i]);
    expect(rows.find((row) => row[0] === `${gb} GB`)?.slice(1), `${gb} GB`).toEqual(expected);
  }
});

test('own images: time on an A100, and checkpoints', async () => {
  const rows = rowsOf('start/your-images.md');
  for (const preset of ['images-64', 'images-128', 'images-256']) {
    const { config, time, files } = await planned(preset, []);
    const seen = (config.steps * config.batchSize).toLocaleString('en');
    expect(rows, preset).toContainEqual([`\`${preset}\``, seen, time, bytes(files.one), bytes(files.kept)]);
  }
});

test('published sizes on one A100', async () => {
  const rows = rowsOf('guides/imagenet-256.md');
  for (const preset of ['paper-s-2-8e2a-256', 'paper-b-2-8e2a-256', 'paper-l-2-8e2a-256']) {
    const { time, files, verdicts } = await planned(preset, [40]);
    const [{ needs, fits, settings }] = verdicts;
    const on40 = fits ? 'fits' : settings === undefined ? '-' : `\`${settings.join(' ')}\``;
    expect(rows, preset).toContainEqual([`\`${preset}\``, bytes(needs), on40, time, bytes(files.one), bytes(files.kept)]);
  }
});
