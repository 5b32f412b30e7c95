/** Kills at random moments of saving. `KILLS` says how many, `KILL_SEED` repeats those of a seed that a failure has named. */
import fs from 'node:fs';
import path from 'node:path';
import { bundleProgram } from '@dit-moe/kit/testing';
import { uniformRows } from '@dit-moe/tensor-ops';
import { SafetensorsFile } from '@dit-moe/tensor-ops/io/node';
import { afterAll, expect, test } from 'vitest';
import { makeRoot } from '../testing/tiny-run.js';
import { sweepTemporaries, verifyCheckpoint } from './checkpoints.js';
import { listCheckpoints } from './retention.js';

const kills = Number(process.env['KILLS'] ?? 40);
const seed = Number(process.env['KILL_SEED'] ?? Date.now() % 1e6);
/** Kills that wait at once. */
const TOGETHER = 4;
/** A kill comes at most so many milliseconds after the first save began, or was done. */
const LATEST = 250;

const { root, newRun } = makeRoot();
afterAll(() => fs.rmSync(root, { recursive: true }));

async function readWeight(folder: string): Promise<Float32Array> {
  const file = await SafetensorsFile.open(path.join(folder, 'weights.safetensors'));
  const { data } = await file.read('w').finally(() => file.close());
  return data as Float32Array;
}

test(`kill -9 at ${kills} random moments of saving (seed ${seed}) leaves no torn checkpoint`, {
  timeout: Math.max(300_000, 6000 * kills),
}, async () => {
  const start = await bundleProgram(new URL('../testing/save-loop.ts', import.meta.url));
  let verified = 0;
  let stale = 0;
  const kill = async (i: number) => {
    const [which, when] = uniformRows({ seed, purpose: 'kill', indices: [i] }, 2);
    const out = newRun();
    const { child, ended, seen } = start([out]);
    // From before the first write to after some whole checkpoints, however fast the machine is.
    await seen(which < 0.5 ? 'saving' : 'saved 1');
    await new Promise((resolve) => setTimeout(resolve, when * LATEST));
    child.kill('SIGKILL');
    expect((await ended).code).toBe('SIGKILL');
    const at = `seed ${seed}, kill ${i}`;
    const folders = await listCheckpoints(out);
    if (which >= 0.5) expect(folders.length, at).toBeGreaterThan(0);
    for (const folder of folders) {
      const { record } = await verifyCheckpoint(folder);
      const weight = await readWeight(folder);
      expect(
        weight.every((value) => value === record.step),
        at,
      ).toBe(true);
      verified++;
    }
    const folder = path.join(out, 'checkpoints');
    const names = () => (fs.existsSync(folder) ? fs.readdirSync(folder) : []);
    stale += names().filter((name) => name.startsWith('.tmp')).length;
    await sweepTemporaries(out);
    expect(
      names().filter((name) => !name.startsWith('step-')),
      at,
    ).toEqual([]);
    fs.rmSync(out, { recursive: true, force: true });
  };
  for (let i = 0; i < kills; i += TOGETHER) await Promise.all(Array.from({ length: Math.min(TOGETHER, kills - i) }, (_, k) => kill(i + k)));
  // The kills did hit the saving.
  expect(stale).toBeGreaterThan(kills / 8);
  if (process.env['KILLS'] !== undefined)
    console.log(`${kills} kills, seed ${seed}: ${verified} whole checkpoints, ${stale} unfinished ones swept`);
});
