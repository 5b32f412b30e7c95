import fs from 'node:fs';
import path from 'node:path';
import { exitCodes } from '@dit-moe/kit';
import { bundleProgram } from '@dit-moe/kit/testing';
import { afterAll, expect, test } from 'vitest';
import YAML from 'yaml';
import type { StudyResults } from '../study/results.js';
import { makeRoot, tinyOverrides } from '../testing/tiny-run.js';
import { listCheckpoints } from '../training/retention.js';

const { root, images } = makeRoot();
afterAll(() => fs.rmSync(root, { recursive: true }));
/** So many that no machine is done before it is interrupted, once every arm has written a line. */
const STEPS = 3000;

test.skipIf(process.platform === 'win32')(
  'Ctrl-C ends all trainings of a sweep with a checkpoint, and the same command goes on',
  async () => {
    const start = await bundleProgram(new URL('../cli.ts', import.meta.url));
    const [file, out] = [path.join(root, 'study.yaml'), path.join(root, 'study')];
    const base = { preset: 'digits', validation: { share: 0.5, every: STEPS, samples: 8, buckets: 2 } };
    fs.writeFileSync(file, YAML.stringify({ base, arms: { a: null, b: null } }));
    const settings = [`data.path=${images}`, ...tinyOverrides, `steps=${STEPS}`, 'logEvery=1', `checkpoints.every=${STEPS}`];
    const sweep = () => start(['sweep', file, '--out', out, '--jobs', '2', '--json', '--set', ...settings], { prefix: ['setsid'] });
    const hasLine = (arm: string): boolean =>
      (fs.statSync(path.join(out, `${arm}-0/metrics.jsonl`), { throwIfNoEntry: false })?.size ?? 0) > 0;

    const first = sweep();
    await first.until(() => hasLine('a') && hasLine('b'));
    // As a terminal does it: to the whole group.
    process.kill(-first.child.pid!, 'SIGINT');
    const { code, err } = await first.ended;
    expect(code, err).toBe(exitCodes.interrupted);
    for (const arm of ['a-0', 'b-0']) {
      const checkpoints = await listCheckpoints(path.join(out, arm));
      expect(checkpoints.map((folder) => Number(/step-(\d+)$/.exec(folder)![1]) < STEPS)).toEqual([true]);
    }
    // Of one of them not more is left than of a run that was killed at its beginning.
    for (const name of fs.readdirSync(path.join(out, 'b-0')))
      if (name !== 'config.json') fs.rmSync(path.join(out, 'b-0', name), { recursive: true });

    const second = await sweep().ended;
    expect(second.code, second.err).toBe(exitCodes.ok);
    const { arms } = JSON.parse(second.out) as StudyResults;
    expect(arms.map(({ arm, runs }) => [arm, runs.length])).toEqual([
      ['a', 1],
      ['b', 1],
    ]);
  },
);
