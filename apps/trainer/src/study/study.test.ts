import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import YAML from 'yaml';
import { compareArms, estimate, formatResults, type RunResult } from './results.js';
import { readStudy } from './study.js';

let root: string;
beforeAll(async () => {
  root = await fs.mkdtemp(path.join(os.tmpdir(), 'study-'));
});
afterAll(() => fs.rm(root, { recursive: true }));

const base = { preset: 'digits', steps: 40, validation: { share: 0.2, every: 20 } };
async function study(content: object): Promise<string> {
  const file = path.join(root, 'study.yaml');
  await fs.writeFile(file, YAML.stringify(content));
  return file;
}

describe('a study', () => {
  test('trains every arm from every seed, by seeds first', async () => {
    const { runs, against } = await readStudy(
      await study({ base, arms: { mixture: null, dense: { model: { moe: null } } }, seeds: [3, 5] }),
      ['steps=20'],
    );
    expect(against).toBe('mixture');
    expect(runs.map(({ name, config }) => [name, config.seed, config.steps, config.model.moe === undefined])).toEqual([
      ['mixture-3', 3, 20, false],
      ['dense-3', 3, 20, true],
      ['mixture-5', 5, 20, false],
      ['dense-5', 5, 20, true],
    ]);
  });

  test.each<[string, object, RegExp]>([
    ['no arm', { base }, /arms/],
    ['a name that is no folder', { base, arms: { '../x': null } }, /arms.*\.\.\/x/s],
    ['a setting that there is not', { base, arms: { a: { batchsize: 3 } } }, /arm a of study\.yaml.*did you mean batchSize/is],
    ['no held-out images', { base: { ...base, validation: null }, arms: { a: null } }, /validation/],
    ['an end that is not measured', { base: { ...base, steps: 50 }, arms: { a: null } }, /validation\.every.*a divisor of steps 50/s],
    ['an unknown arm to compare with', { base, arms: { a: null }, against: 'b' }, /against.*one of a/s],
    [
      'losses that say nothing of each other',
      { base, arms: { a: null, b: { objective: { prediction: 'start' } } } },
      /arms\.b.*cannot be compared/s,
    ],
    ['an unknown field', { base, arms: { a: null }, seed: [1] }, /seed.*did you mean seeds/is],
  ])('%s is refused', async (_, content, message) => {
    await expect(readStudy(await study(content))).rejects.toThrow(message);
  });
});

describe('results', () => {
  const run = (arm: string, seed: number, loss: number): RunResult => ({
    ...{ arm, seed, loss, byTime: [loss], trainingLoss: loss, parameters: 2e6, activeParameters: 1e6, gmac: 0.01, seconds: 60 },
  });
  const runs = [run('a', 0, 1), run('b', 0, 0.5), run('a', 1, 3), run('b', 1, 2.7), run('b', 2, 9)];

  test('an estimate is the mean and its standard error', () => {
    const { mean, error } = estimate([1, 2, 4]);
    expect(mean).toBeCloseTo(7 / 3, 12);
    expect(error).toBeCloseTo(Math.sqrt((16 / 9 + 1 / 9 + 25 / 9) / 2 / 3), 12);
    expect(estimate([5])).toEqual({ mean: 5 });
  });

  test('differences are of runs of the same seed, and only of those', () => {
    const [a, b] = compareArms({ arms: ['a', 'b', 'c'], against: 'a' }, runs);
    expect(a.difference).toBeUndefined();
    expect(b.difference!.mean).toBeCloseTo(-0.4, 12);
    expect(b.difference!.error).toBeCloseTo(0.1, 12);
    expect(Object.keys(b.difference!.bySeed)).toEqual(['0', '1']);
  });

  test('the table has a line for each arm that has a result', () => {
    const arms = compareArms({ arms: ['a', 'b', 'c'], against: 'a' }, runs);
    const machine = { processor: 'x', cores: 2, memoryGiB: 4, node: 'v20' };
    const lines = formatResults({ format: 1, name: 'Experts', against: 'a', seeds: [0, 1, 2], arms, machine }).split('\n');
    expect(lines[0]).toBe('Experts');
    expect(lines.slice(2).map((line) => line.split(/\s{2,}/))).toEqual([
      ['a', '2.00 M', '1.00 M', '10.0', '2/3', '2.0000 +- 1.0000', '1.0'],
      ['b', '2.00 M', '1.00 M', '10.0', '3/3', '4.0667 +- 2.5471', '-0.4000 +- 0.1000', '1.0'],
    ]);
  });
});
