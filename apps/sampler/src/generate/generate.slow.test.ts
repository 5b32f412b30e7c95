import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { bundleProgram } from '@dit-moe/kit/testing';
import { uniformRows } from '@dit-moe/tensor-ops';
import { hashFile, openNpz, takeLock } from '@dit-moe/tensor-ops/io/node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeTinyModel } from '../../../../packages/pipeline/src/testing/tiny-model.js';
import { labelsOf } from './labels.js';

/** `KILL_SEED` repeats the kills of a seed that a failure has named. */
const seed = Number(process.env['KILL_SEED'] ?? Date.now() % 1e6);

describe('a generated set', () => {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'generate-'));
  const model = path.join(root, 'model.safetensors');
  const settings = ['--images', '48', '--shard-size', '4', '--batch', '3', '--steps', '12', '--backend', 'cpu', '--labels', 'balanced'];
  let start: Awaited<ReturnType<typeof bundleProgram>>;
  /** Milliseconds that the whole set takes. */
  let took: number;
  const generate = (out: string, ...more: string[]) => start(['generate', model, '--out', path.join(root, out), ...settings, ...more]);
  const shards = (out: string) => path.join(root, out, 'shards');
  const countOfDone = (out: string) =>
    fs.existsSync(shards(out)) ? fs.readdirSync(shards(out)).filter((name) => name.endsWith('.done')).length : 0;
  const bytesOf = (out: string) =>
    Object.fromEntries(
      fs
        .readdirSync(shards(out))
        .sort()
        .map((name) => [name, fs.readFileSync(path.join(shards(out), name)).toString('base64')]),
    );

  beforeAll(async () => {
    await writeTinyModel(model);
    start = await bundleProgram(new URL('../cli.ts', import.meta.url));
    const started = performance.now();
    const { code, err } = await generate('alone').ended;
    took = performance.now() - started;
    expect(err).toMatch(/48 images in 12 shards/);
    expect(code).toBe(0);
  });
  afterAll(() => {
    fs.rmSync(root, { recursive: true });
  });

  test('has the same bytes by two workers of an array job', async () => {
    const outcomes = await Promise.all(
      [0, 1].map(
        (k) =>
          start(['generate', model, '--out', path.join(root, 'two'), ...settings], {
            env: { SLURM_ARRAY_TASK_ID: String(k), SLURM_ARRAY_TASK_COUNT: '2', SLURM_ARRAY_TASK_MIN: '0' },
          }).ended,
      ),
    );
    expect(outcomes.map(({ code }) => code)).toEqual([0, 0]);
    expect(bytesOf('two')).toEqual(bytesOf('alone'));
  });

  test(`survives 20 kills with the same bytes (seed ${seed})`, { timeout: 900_000 }, async () => {
    let [kills, starts] = [0, 0];
    /** Shards that were done after each kill. */
    const done: number[] = [];
    // Any moment from before the manifest to the last marker, and every other one soon after a shard, however fast the machine is now. A
    // run that ends by itself starts over in a new folder.
    for (let folder = 0; kills < 20; folder++) {
      const out = `killed-${folder}`;
      for (;;) {
        const before = countOfDone(out);
        const { child, ended, until } = generate(out);
        const [when] = uniformRows({ seed, purpose: 'kill', indices: [starts++] }, 1);
        const soon = kills % 2 === 1;
        if (soon) await Promise.race([until(() => countOfDone(out) > before), ended]);
        const timer = setTimeout(() => child.kill('SIGKILL'), took * (soon ? when / 12 : 0.2 + 0.8 * when));
        const { code } = await ended;
        clearTimeout(timer);
        if (code === 0) break;
        expect(child.signalCode).toBe('SIGKILL');
        kills++;
        done.push(countOfDone(out));
        if (kills === 20) {
          expect((await generate(out).ended).code).toBe(0);
          break;
        }
      }
      const { code, out: text } = await start(['merge', path.join(root, out), '--json']).ended;
      expect(code).toBe(0);
      expect(JSON.parse(text).classCounts).toEqual([16, 16, 16]);
      expect(bytesOf(out)).toEqual(bytesOf('alone'));
    }
    // Some did hit the middle of the work.
    expect(done.filter((count) => count > 0 && count < 12).length).toBeGreaterThan(0);
  });

  test('a part is made by one worker at a time, and nothing is merged while one works; the lock of a dead one is taken over', async () => {
    fs.cpSync(path.join(root, 'alone'), path.join(root, 'locked'), { recursive: true });
    fs.rmSync(path.join(shards('locked'), '00002.done'));
    const lock = path.join(root, 'locked', 'part-0-of-1.lock');
    const held = await takeLock(lock, 'the part');
    const second = await generate('locked').ended;
    expect(second).toMatchObject({ code: 4, err: expect.stringMatching(`Part 0 of 1 of .*locked is in use by process ${process.pid}`) });
    fs.cpSync(path.join(shards('alone'), '00002.done'), path.join(shards('locked'), '00002.done'));
    expect(await start(['merge', path.join(root, 'locked')]).ended).toMatchObject({ code: 4, err: expect.stringMatching(/is in use/) });
    expect(fs.existsSync(path.join(root, 'locked', 'samples.npz'))).toBe(false);
    const text = JSON.parse(fs.readFileSync(lock, 'utf8'));
    await held.release();
    // Of a process that has died: no process starts at time 1.
    fs.writeFileSync(lock, JSON.stringify({ ...text, id: 'dead', process: '1' }));
    expect((await generate('locked').ended).code).toBe(0);
    expect((await start(['merge', path.join(root, 'locked')]).ended).code).toBe(0);
    expect(fs.readdirSync(path.join(root, 'locked')).filter((name) => name.endsWith('.lock'))).toEqual([]);
  });

  test('merges into the layout of the evaluator', async () => {
    const target = path.join(root, 'merged.npz');
    expect((await start(['merge', path.join(root, 'alone'), '--out', target]).ended).code).toBe(0);
    const { arrays, close } = await openNpz(target);
    const [images, labels] = [await arrays.read('arr_0'), await arrays.read('arr_1')];
    await close();
    expect([images.dtype, images.shape, labels.dtype, labels.shape]).toEqual(['U8', [48, 4, 4, 3], 'I64', [48]]);
    expect(Array.from(labels.data as BigInt64Array, Number)).toEqual(labelsOf('balanced', 0, 3, 0, 48));
    const first = fs.readFileSync(path.join(shards('alone'), '00000.npy')).subarray(-4 * 16);
    const grey = Array.from(images.data as Uint8Array).filter((_, i) => i % 3 === 1);
    expect(grey.slice(0, first.length)).toEqual([...first]);
    expect(new Set(grey).size).toBeGreaterThan(20);
    const again = path.join(root, 'again.npz');
    await start(['merge', path.join(root, 'alone'), '--out', again]).ended;
    expect(await hashFile(again)).toBe(await hashFile(target));
  });

  test('heals damage, and refuses other settings and an unfinished merge', async () => {
    fs.cpSync(path.join(root, 'alone'), path.join(root, 'damaged'), { recursive: true });
    const shard = path.join(shards('damaged'), '00002.npy');
    const bytes = fs.readFileSync(shard);
    bytes[bytes.length - 1] ^= 1;
    fs.writeFileSync(shard, bytes);
    fs.rmSync(path.join(shards('damaged'), '00005.done'));
    fs.writeFileSync(path.join(shards('damaged'), '.tmp-00007.npy-1-abc'), 'half');
    const unfinished = await start(['merge', path.join(root, 'damaged')]).ended;
    expect(unfinished).toMatchObject({ code: 4, err: expect.stringMatching(/1 of 12 shards are missing \(5\)/) });
    const other = await generate('damaged', '--seed', '3', '--guidance', '4').ended;
    expect(other).toMatchObject({ code: 2, err: expect.stringMatching(/seed: 0 there, 3 asked for/) });
    const withGuide = await generate('damaged', '--guide-with', model, '--guidance-rule', 'rescale').ended;
    expect(withGuide).toMatchObject({
      code: 2,
      err: expect.stringMatching(
        /"guidanceRule":"rescale".* asked for\n {2}guide: undefined there, \{"sha256":"[0-9a-f]{64}","step":7\} asked/,
      ),
    });
    fs.writeFileSync(path.join(shards('damaged'), '00005.done'), fs.readFileSync(path.join(shards('alone'), '00005.done')));
    const broken = await start(['merge', path.join(root, 'damaged')]).ended;
    expect(broken).toMatchObject({ code: 4, err: expect.stringMatching(/00002\.npy is damaged/) });
    expect(fs.existsSync(path.join(root, 'damaged', 'samples.npz'))).toBe(false);
    expect((await generate('damaged').ended).err).toMatch(/4 images in 1 shards to make, 11 shards are there/);
    expect((await start(['merge', path.join(root, 'damaged')]).ended).code).toBe(0);
    expect(bytesOf('damaged')).toEqual(bytesOf('alone'));
  });
});
