import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { DamagedCheckpointError } from '@dit-moe/tensor-ops/io/node';
import { afterAll, expect, test } from 'vitest';
import { deleteOld, listCheckpoints, type Retention, stepOf } from './retention.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'retention-'));
afterAll(() => fs.rmSync(root, { recursive: true }));
let runs = 0;

test.each<[string, Retention, number[], number, number[], number[], number[]]>([
  // What is there, what is saved, what of it is damaged; what is left, what is aside.
  ['the newest stay', { keep: 2 }, [1, 2, 3], 3, [], [3, 2], []],
  ['milestones stay', { keep: 2, milestoneEvery: 2 }, [2, 4, 5, 6, 7], 7, [], [7, 6, 4, 2], []],
  ['damaged ones do not count', { keep: 2 }, [1, 2, 3, 4], 4, [3], [4, 2], [3]],
  ['all others damaged: nothing is deleted', { keep: 2 }, [1, 2, 3], 3, [1, 2], [3], [1, 2]],
  ['newer ones do not count and stay', { keep: 2 }, [1, 2, 3, 8, 9], 3, [8], [9, 8, 3, 2], []],
  ['one that is damaged beyond those kept goes', { keep: 2 }, [1, 2, 3, 4], 4, [1], [4, 3], []],
  ['more digits than eight', { keep: 2 }, [99_999_999, 100_000_000, 100_000_001], 100_000_001, [], [100_000_001, 100_000_000], []],
])('%s', async (_, retention, there, saved, damaged, left, aside) => {
  const run = path.join(root, String(runs++));
  const folder = (step: number) => path.join(run, 'checkpoints', `step-${String(step).padStart(8, '0')}`);
  for (const step of there) fs.mkdirSync(folder(step), { recursive: true });
  const warnings: string[] = [];
  const verify = async (checkpoint: string) => {
    if (damaged.includes(stepOf(checkpoint))) throw new DamagedCheckpointError('a bit has flipped.');
  };
  await deleteOld(run, folder(saved), retention, verify, (message) => void warnings.push(message));
  expect((await listCheckpoints(run)).map(stepOf)).toEqual(left);
  const names = fs.readdirSync(path.join(run, 'checkpoints')).filter((name) => !name.startsWith('step-'));
  expect(names).toEqual(aside.map((step) => `damaged-${path.basename(folder(step))}`));
  expect(warnings).toHaveLength(aside.length);
});
