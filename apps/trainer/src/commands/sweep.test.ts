import fs from 'node:fs';
import path from 'node:path';
import { exitCodes } from '@dit-moe/kit';
import { bundleProgram } from '@dit-moe/kit/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import YAML from 'yaml';
import type { StudyResults } from '../study/results.js';
import { makeRoot, tinyOverrides } from '../testing/tiny-run.js';

const { root, images } = makeRoot();
afterAll(() => fs.rmSync(root, { recursive: true }));
let start: Awaited<ReturnType<typeof bundleProgram>>;
beforeAll(async () => {
  start = await bundleProgram(new URL('../cli.ts', import.meta.url));
});

test('pairs of equal arms differ by nothing; what is done is not trained again, and a failing arm is named', async () => {
  const file = path.join(root, 'study.yaml');
  const out = path.join(root, 'study');
  const study = {
    base: { preset: 'digits', validation: { share: 0.5, every: 4, samples: 8, buckets: 2 } },
    seeds: [1],
    arms: { a: null, same: null },
  };
  fs.writeFileSync(file, YAML.stringify(study));
  const sweep = async () => {
    return start(['sweep', file, '--out', out, '--json', '--set', `data.path=${images}`, ...tinyOverrides]).ended;
  };
  const first = await sweep();
  expect(first.code, first.err).toBe(exitCodes.ok);
  const results = JSON.parse(first.out) as StudyResults;
  expect(JSON.parse(fs.readFileSync(path.join(out, 'results.json'), 'utf8'))).toEqual(results);
  expect(results.arms.map(({ arm, runs }) => [arm, runs.length])).toEqual([
    ['a', 1],
    ['same', 1],
  ]);
  expect(results.arms[1].difference).toEqual({ mean: 0, bySeed: { 1: 0 } });
  expect(results.arms[0].runs[0].byTime.length).toBe(2);

  // A result of other settings is none of these.
  fs.writeFileSync(file, YAML.stringify({ ...study, base: { ...study.base, labelDropout: 0.2 } }));
  const other = await sweep();
  expect(other.code).toBe(exitCodes.output);
  expect(other.err).toMatch(/a-1 was made with other settings:.*labelDropout/s);

  // The run that is there is kept; the one that cannot be is named, with what it said.
  fs.rmSync(path.join(out, 'same-1'), { recursive: true });
  fs.writeFileSync(file, YAML.stringify({ ...study, arms: { a: null, same: { initialWeights: path.join(root, 'nowhere') } } }));
  const before = fs.statSync(path.join(out, 'a-1', 'metrics.jsonl')).mtimeMs;
  const second = await sweep();
  expect(second.code).toBe(exitCodes.peer);
  expect(second.err).toMatch(/The run same-1 has ended with code 6:.*nowhere/s);
  expect(fs.statSync(path.join(out, 'a-1', 'metrics.jsonl')).mtimeMs).toBe(before);
});
