/** Faults, each caused: what is on disk stays usable, and a run that goes on equals one without the fault. */
import fs from 'node:fs';
import path from 'node:path';
import { bundleProgram } from '@dit-moe/kit/testing';
import { startBackend } from '@dit-moe/tensor-ops/node';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import type { TrainConfig } from '../config/schema.js';
import {
  checkpointBytes,
  checkpointFolder,
  curveOf,
  makeRoot,
  metricsLines,
  runTiny,
  tinyConfig,
  tinyOverrides,
  writeImages,
} from '../testing/tiny-run.js';
import { BatchMaker } from './batches.js';
import { listCheckpoints, stepOf } from './retention.js';

const { root, images, newRun } = makeRoot();
const config = (...overrides: string[]): TrainConfig => tinyConfig(images, ...overrides);
let startCli: Awaited<ReturnType<typeof bundleProgram>>;
beforeAll(async () => {
  await startBackend('tensorflow');
  startCli = await bundleProgram(new URL('../cli.ts', import.meta.url));
});
afterAll(() => fs.rmSync(root, { recursive: true }));
afterEach(() => void vi.restoreAllMocks());

const states = (out: string, step: number) => ['weights', 'ema', 'optimizer'].map((file) => checkpointBytes(out, step, file));
const trainArgs = (out: string, ...overrides: string[]) => [
  'train',
  '--data',
  images,
  '--out',
  out,
  '--json',
  '--set',
  ...tinyOverrides,
  ...overrides,
];

describe('a process that dies', () => {
  test('by kill -9 between steps: the resumed run equals the uninterrupted one', async () => {
    const out = newRun();
    const overrides = ['checkpoints.every=13', 'logEvery=5', 'sampling.every=1000000'];
    let resumedAt = -1;
    for (let k = 0; k < 3; k++) {
      const { child, output, ended, until } = startCli([...trainArgs(out, 'steps=1000000', ...overrides), ...(k > 0 ? ['--resume'] : [])]);
      const before = (await listCheckpoints(out))[0];
      await until(async () => (await listCheckpoints(out))[0] !== before);
      await new Promise((resolve) => setTimeout(resolve, 7 * k));
      child.kill('SIGKILL');
      await ended;
      const at = Number(/resumed at step (\d+)/.exec(output.err)?.[1] ?? 0);
      expect(at).toBeGreaterThanOrEqual(resumedAt);
      resumedAt = at;
    }
    const last = Number(/\d+$/.exec((await listCheckpoints(out))[0])![0]) + 3;
    await runTiny(config(`steps=${last}`, ...overrides), out, { resume: true });
    const whole = newRun();
    await runTiny(config(`steps=${last}`, ...overrides), whole);
    for (const [i, state] of states(out, last).entries()) expect(state.equals(states(whole, last)[i])).toBe(true);
    expect(curveOf(out)).toEqual(curveOf(whole));
  });

  test.each(['SIGINT', 'SIGTERM', 'SIGUSR1', 'SIGHUP'] as const)('by %s saves first and ends with code 75', async (signal) => {
    const out = newRun();
    const { child, output, ended, seen } = startCli(trainArgs(out, 'steps=1000000', 'checkpoints.every=1000000'));
    await seen('step 1/');
    child.kill(signal);
    expect((await ended).code).toBe(75);
    const { step, interrupted } = JSON.parse(output.out);
    expect(interrupted).toBe(true);
    const whole = newRun();
    await runTiny(config(`steps=${step}`, 'checkpoints.every=1000000', 'logEvery=1000'), whole);
    for (const [i, state] of states(out, step).entries()) expect(state.equals(states(whole, step)[i])).toBe(true);
  });

  test('by the end of who reads its output saves first and ends with code 75', async () => {
    const out = newRun();
    const { child, ended, seen } = startCli(trainArgs(out, 'steps=1000000', 'checkpoints.every=1000000'));
    await seen('step 1/');
    child.stderr.destroy();
    child.stdout.destroy();
    expect((await ended).code).toBe(75);
    expect(await listCheckpoints(out)).toHaveLength(1);
  });

  test('by a second signal while previews are drawn ends at once with its code, and by one the previews are left out', async () => {
    const long = [
      'steps=1000000',
      'checkpoints.every=1000000',
      'sampling={every: 3, steps: 1000, perClass: 64, solver: euler}',
      'logEvery=1',
    ];
    const [once, twice] = [newRun(), newRun()];
    const saved = startCli(trainArgs(once, ...long));
    await saved.seen('samples of step 3');
    saved.child.kill('SIGTERM');
    expect((await saved.ended).code).toBe(75);
    expect(saved.output.err).toContain('no samples for step 3: interrupted');
    expect((await listCheckpoints(once)).map(stepOf)).toEqual([3]);
    // Saved where the previews would have been drawn, it goes on as if nothing had been.
    const whole = newRun();
    await runTiny(config('steps=4', 'checkpoints.every=1000000'), whole);
    await runTiny(config('steps=4', 'checkpoints.every=1000000'), once, { resume: true });
    for (const [i, state] of states(once, 4).entries()) expect(state.equals(states(whole, 4)[i])).toBe(true);

    const killed = startCli(trainArgs(twice, ...long));
    await killed.seen('samples of step 3');
    killed.child.kill('SIGSTOP');
    for (const signal of ['SIGINT', 'SIGHUP', 'SIGCONT'] as const) killed.child.kill(signal);
    expect([129, 130]).toContain((await killed.ended).code);
    expect(await listCheckpoints(twice)).toEqual([]);
  });

  test('by a signal before its first step: the code says that nothing was saved, or that it was before', async () => {
    const out = newRun();
    const first = startCli(trainArgs(out, 'steps=1000000'));
    await first.seen('starting the backend');
    first.child.kill('SIGTERM');
    expect((await first.ended).code).toBe(143);
    expect(first.output.err).toMatch(/before the first step: nothing is saved yet/);
    expect(await listCheckpoints(out)).toEqual([]);
    await runTiny(config(), out, { resume: true });
    const second = startCli([...trainArgs(out, 'steps=1000000'), '--resume']);
    await second.seen('starting the backend');
    second.child.kill('SIGTERM');
    expect((await second.ended).code).toBe(75);
    expect((await listCheckpoints(out)).map(stepOf)).toEqual([4, 2]);
  });
});

describe('a checkpoint', () => {
  const damages: [string, (folder: string) => void, RegExp][] = [
    [
      'cut by a byte',
      (f) => fs.truncateSync(path.join(f, 'ema.safetensors'), fs.statSync(path.join(f, 'ema.safetensors')).size - 1),
      /should have/,
    ],
    ['with one bit flipped', (f) => flip(path.join(f, 'weights.safetensors')), /sha256/],
    ['with a flipped bit in the manifest', (f) => flip(path.join(f, 'manifest.json'), 120), /manifest\.json/],
    ['without a manifest', (f) => fs.rmSync(path.join(f, 'manifest.json')), /manifest\.json cannot be read/],
    ['whose manifest is null', (f) => fs.writeFileSync(path.join(f, 'manifest.json'), 'null'), /is no manifest/],
    ['without a file', (f) => fs.rmSync(path.join(f, 'optimizer.safetensors')), /is missing/],
    [
      'with two files swapped',
      (f) => {
        const [a, b, c] = ['weights', 'ema', 'aside'].map((name) => path.join(f, `${name}.safetensors`)) as [string, string, string];
        fs.renameSync(a, c);
        fs.renameSync(b, a);
        fs.renameSync(c, b);
      },
      /sha256|should have/,
    ],
  ];
  function flip(file: string, at = fs.statSync(file).size - 1): void {
    const content = fs.readFileSync(file);
    content[at] ^= 1;
    fs.writeFileSync(file, content);
  }

  test('that is damaged in any way is passed over with a warning, and training never starts over silently', async () => {
    const [good, whole] = [newRun(), newRun()];
    await runTiny(config(), good);
    await runTiny(config('steps=5'), whole);
    for (const [name, damage, message] of damages) {
      const out = newRun();
      fs.cpSync(good, out, { recursive: true });
      damage(checkpointFolder(out, 4));
      fs.mkdirSync(path.join(out, 'checkpoints', '.tmp-step-00000009'));
      const { messages } = await runTiny(config('steps=5'), out, { resume: true });
      expect(messages.join('\n'), name).toMatch(
        /WARNING: the checkpoint .*step-00000004 cannot be used .*moved to .*damaged-step-00000004/s,
      );
      expect(messages.join('\n'), name).toMatch(message);
      expect(messages, name).toContain('resumed at step 2');
      expect(fs.readdirSync(path.join(out, 'checkpoints')).filter((n) => n.startsWith('.tmp'))).toEqual([]);
      expect(states(out, 5)[0].equals(states(whole, 5)[0]), name).toBe(true);
      for (const folder of await listCheckpoints(out)) damage(folder);
      await expect(runTiny(config('steps=6'), out, { resume: true })).rejects.toMatchObject({
        ...{ code: 'E_CHECKPOINT', message: expect.stringMatching(/No checkpoint .* is whole/) },
      });
    }
  });

  const stepsIn = (out: string) => fs.readdirSync(path.join(out, 'checkpoints')).sort();

  test.each([
    [
      'fewer are kept than before',
      ['checkpoints.keep=2', 'checkpoints.every=1', 'steps=7'],
      [4, 5],
      ['damaged-step-00000004', 'damaged-step-00000005', 'step-00000006', 'step-00000007'],
    ],
    [
      'another milestone',
      ['checkpoints={keep: 3, every: 1, milestoneEvery: 2}', 'steps=6'],
      [5],
      ['damaged-step-00000005', 'step-00000002', 'step-00000004', 'step-00000005', 'step-00000006'],
    ],
  ])('that is damaged does not count among those kept: %s', async (_, overrides, damaged, left) => {
    const out = newRun();
    await runTiny(config('steps=5', 'checkpoints={every: 1, keep: 4}'), out);
    for (const step of damaged) flip(path.join(checkpointFolder(out, step), 'weights.safetensors'));
    await runTiny(config(...overrides), out, { resume: true });
    expect(stepsIn(out)).toEqual(left);
    const last = Number(/\d+/.exec(overrides.at(-1)!)![0]);
    await runTiny(config(...overrides.slice(0, -1), `steps=${last + 1}`), out, { resume: true });
  });

  test('that is interrupted right after damaged ones were passed over is there', async () => {
    const out = newRun();
    await runTiny(config('steps=5', 'checkpoints={every: 1, keep: 4}'), out);
    for (const step of [4, 5]) flip(path.join(checkpointFolder(out, step), 'ema.safetensors'));
    const stop = new AbortController();
    const { step, interrupted } = await runTiny(config('steps=100', 'checkpoints={every: 50, milestoneEvery: 10}'), out, {
      ...{ resume: true, signal: stop.signal, onStep: () => stop.abort() },
    });
    expect([step, interrupted]).toEqual([4, true]);
    expect(stepsIn(out)).toEqual(['damaged-step-00000004', 'damaged-step-00000005', 'step-00000003', 'step-00000004']);
  });

  test('without a configuration beside it is not started over; resumed, its tensors are compared', async () => {
    const out = newRun();
    await runTiny(config(), out);
    fs.rmSync(path.join(out, 'config.json'));
    await expect(runTiny(config(), out)).rejects.toMatchObject({ message: expect.stringMatching(/holds checkpoints .*--resume/) });
    const { messages } = await runTiny(config('steps=5'), out, { resume: true });
    expect(messages.join('\n')).toMatch(/WARNING: .*config\.json is missing/);
    expect(messages).toContain('resumed at step 4');
  });

  test('old ones go, milestones stay', async () => {
    const out = newRun();
    await runTiny(config('steps=7', 'checkpoints={every: 1, keep: 2, milestoneEvery: 3}'), out);
    expect((await listCheckpoints(out)).map((folder) => Number(/\d+$/.exec(folder)![0]))).toEqual([7, 6, 3]);
  });
});

describe('a disk', () => {
  /** Makes every write of checkpoints fail while `full` says so. */
  async function fillDisk(full: () => boolean): Promise<void> {
    const probe = await fs.promises.open(path.join(root, 'probe'), 'w');
    const prototype = Object.getPrototypeOf(probe) as fs.promises.FileHandle;
    await probe.close();
    const write = prototype.appendFile;
    vi.spyOn(prototype, 'appendFile').mockImplementation(async function (this: fs.promises.FileHandle, ...args) {
      // Longer than the events of a line of metrics.
      if ((args[0] as Uint8Array).length > 1000 && full())
        throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
      return write.apply(this, args);
    });
  }

  test('that is full for a while: the run warns and goes on, and the next checkpoint is as without', async () => {
    const [out, whole] = [newRun(), newRun()];
    await runTiny(config('steps=8'), whole);
    let writes = 0;
    await fillDisk(() => ++writes <= 2);
    const { messages } = await runTiny(config('steps=8'), out);
    expect(messages.join('\n')).toMatch(/WARNING: the checkpoint could not be saved \(1 in a row\): .*no space is left/);
    for (const [i, state] of states(out, 8).entries()) expect(state.equals(states(whole, 8)[i])).toBe(true);
    expect(fs.readdirSync(path.join(out, 'checkpoints')).filter((name) => name.startsWith('.tmp'))).toEqual([]);
  });

  test('that stays full: the run ends with code 4 and the old checkpoint stays', async () => {
    const out = newRun();
    await runTiny(config('steps=2'), out);
    await fillDisk(() => true);
    await expect(runTiny(config('steps=100'), out, { resume: true })).rejects.toMatchObject({
      code: 'E_OUTPUT',
      message: expect.stringMatching(/3 checkpoints in a row .*no space is left.*step-00000002 is the newest one saved: .*--resume/),
    });
    await expect(runTiny(config('steps=3'), out, { resume: true })).rejects.toMatchObject({
      code: 'E_OUTPUT',
      message: expect.stringMatching(/last checkpoint, of step 3, .*no space is left.*step-00000002 is the newest one saved/),
    });
    vi.restoreAllMocks();
    expect((await runTiny(config('steps=3'), out, { resume: true })).messages).toContain('resumed at step 2');
  });

  test.each([
    ['in the middle', 100, '3 checkpoints in a row could not be saved.'],
    ['at the end', 2, 'The last checkpoint, of step 2, could not be saved.'],
  ])('that is full from the first checkpoint on, %s of the run: the error says that nothing is saved', async (_, steps, what) => {
    const out = newRun();
    await fillDisk(() => true);
    await expect(runTiny(config(`steps=${steps}`), out)).rejects.toMatchObject({
      code: 'E_OUTPUT',
      message:
        `${what} Cannot write ${path.join(out, 'checkpoints')}: no space is left on the disk. Free some, or choose another folder. ` +
        'Nothing of this run is saved yet: the same command with --resume starts it again at step 0.',
    });
    vi.restoreAllMocks();
    const { messages } = await runTiny(config('steps=2'), out, { resume: true });
    expect(messages).toContain('nothing to resume: starting at step 0');
    expect(await listCheckpoints(out)).toHaveLength(1);
  });

  test('with a limit on the size of files, set by the system: code 4, nothing torn', async () => {
    const out = newRun();
    const { output, ended } = startCli(trainArgs(out, 'model.hiddenSize=256', 'steps=8'), {
      prefix: ['bash', '-c', 'ulimit -f 600; exec "$0" "$@"'],
    });
    expect((await ended).code).toBe(4);
    expect(output.err).toMatch(/exceeds the size limit/);
    expect(await listCheckpoints(out)).toEqual([]);
    expect(fs.readdirSync(path.join(out, 'checkpoints'))).toEqual([]);
  });
});

describe('a gradient that is not finite', () => {
  /** Poisons the batches that start at these positions. */
  function poison(positions: (start: number) => boolean): void {
    const make = BatchMaker.prototype.make;
    vi.spyOn(BatchMaker.prototype, 'make').mockImplementation(async function (this: BatchMaker, start, size) {
      const batch = await make.call(this, start, size);
      if (positions(start)) batch.noise[0] = Number.NaN;
      return batch;
    });
  }

  test('once is skipped and counted', async () => {
    const out = newRun();
    poison((start) => start === 4);
    const { messages } = await runTiny(config(), out);
    expect(messages.join('\n')).toMatch(/step 2: the loss or gradient is not finite; the step was skipped \(1 in all\)/);
    expect(metricsLines(out).map(({ skipped }) => skipped)).toEqual([0, 1, 1, 1]);
    expect(metricsLines(out).every(({ loss }) => Number.isFinite(loss))).toBe(true);
  });

  test('again and again goes back to the last checkpoint and passes over the batches; the same after a resume', async () => {
    const faults = 'faults={rollBackAfter: 2, skipBatches: 3}';
    // Steps 4 and 5 see batches 3 and 4 (positions 12 and 16).
    const bad = (start: number) => start === 12 || start === 16;
    const [out, parts] = [newRun(), newRun()];
    poison(bad);
    const { messages } = await runTiny(config('steps=8', faults), out);
    expect(messages.join('\n')).toContain('rolled back to step 4, passing over 3 batches');
    const { record } = JSON.parse(fs.readFileSync(path.join(checkpointFolder(out, 8), 'manifest.json'), 'utf8'));
    // Back at step 4 (one step of it skipped), 4 further steps after batch 4 and 3 batches passed over.
    expect(record).toMatchObject({ step: 8, rollBacks: 1, skipped: 2, position: (5 + 3 + 4) * 4 });
    await runTiny(config('steps=6', faults), parts);
    await runTiny(config('steps=8', faults), parts, { resume: true });
    expect(states(parts, 8)[0].equals(states(out, 8)[0])).toBe(true);
    expect(curveOf(parts)).toEqual(curveOf(out));
  });

  test('takes the losses that timesteps are drawn by back to the checkpoint, too', async () => {
    const out = newRun();
    // Step 5 is good; 6 and 7 are not, and lead back to step 4.
    poison((start) => start === 20 || start === 24);
    const objective = 'objective={kind: ddpm, schedule: cosine, steps: 8, timesteps: loss-second-moment}';
    const { messages } = await runTiny(
      config('steps=8', 'checkpoints.every=4', 'faults={rollBackAfter: 2, skipBatches: 0}', objective),
      out,
    );
    expect(messages.join('\n')).toContain('rolled back to step 4');
    const [before, after] = [4, 8].map((step): number[][] => {
      const manifest = JSON.parse(fs.readFileSync(path.join(checkpointFolder(out, step), 'manifest.json'), 'utf8'));
      return manifest.record.lossHistory;
    });
    // Four samples per step, none of the step that was undone.
    expect([before.flat().length, after.flat().length]).toEqual([4 * 4, 8 * 4]);
    for (const [t, losses] of before.entries()) expect(after[t].slice(0, losses.length)).toEqual(losses);
  });

  test('for ever ends with code 7, and the checkpoints stay', async () => {
    const out = newRun();
    poison((start) => start >= 12);
    await expect(runTiny(config('steps=50', 'faults={rollBackAfter: 2, skipBatches: 1, maxRollBacks: 2}'), out)).rejects.toMatchObject({
      ...{ code: 'E_DIVERGED', message: expect.stringMatching(/after 2 roll-backs/) },
    });
    expect(await listCheckpoints(out)).not.toEqual([]);
  });

  test('a spike of the norm is skipped if asked for', async () => {
    const out = newRun();
    const make = BatchMaker.prototype.make;
    vi.spyOn(BatchMaker.prototype, 'make').mockImplementation(async function (this: BatchMaker, start, size) {
      const batch = await make.call(this, start, size);
      return start === 80 ? { ...batch, noise: batch.noise.map((n) => 1e4 * n) } : batch;
    });
    const { messages } = await runTiny(config('steps=22', 'faults.spikeFactor=10'), out);
    expect(messages.filter((message) => message.includes('is a spike'))).toEqual([
      expect.stringMatching(/^step 21: .*skipped \(1 in all\)/),
    ]);
    expect(metricsLines(out).at(-1).loss).toBeLessThan(10);
  });
});

describe('a run', () => {
  test('whose data has changed is refused, or begins a new epoch when told to', async () => {
    const [folder, out] = [path.join(root, 'changing'), newRun()];
    writeImages(folder);
    const c = tinyConfig(folder);
    await runTiny(c, out);
    fs.rmSync(path.join(folder, 'dark', '2.png'));
    await expect(runTiny({ ...c, steps: 6 }, out, { resume: true })).rejects.toMatchObject({
      code: 'E_CHECKPOINT',
      message: expect.stringMatching(/data has changed/),
    });
    const { messages } = await runTiny({ ...c, steps: 6 }, out, { resume: true, acceptDataChange: true });
    expect(messages.join('\n')).toMatch(/a new epoch begins/);
    const { record } = JSON.parse(fs.readFileSync(path.join(checkpointFolder(out, 6), 'manifest.json'), 'utf8'));
    // 16 samples seen, 5 images now: the epoch begins at 20.
    expect(record.position).toBe(20 + 2 * 4);
  });

  test('of another configuration is refused with the settings that differ', async () => {
    const out = newRun();
    await runTiny(config(), out);
    await expect(runTiny(config(), out)).rejects.toMatchObject({ code: 'E_OUTPUT', message: expect.stringMatching(/holds a run already/) });
    await expect(runTiny(config('model.depth=2', 'ema=[0.9]'), out, { resume: true })).rejects.toMatchObject({
      ...{
        code: 'E_CHECKPOINT',
        message: expect.stringMatching(/model\.depth: 1 in the run, 2 now\n {2}ema: \[0\.5\] in the run, \[0\.9\] now/),
      },
    });
    // A configuration that was edited by hand does not deceive: the tensors are compared as well.
    const file = path.join(out, 'config.json');
    fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace('"hiddenSize": 8', '"hiddenSize": 16'));
    await expect(runTiny(config('model.hiddenSize=16'), out, { resume: true })).rejects.toThrow(/belongs to another model: .*expected/);
    await runTiny(config('steps=5', 'optimizer.learningRate=1e-5'), out, { resume: true }).catch(() => {});
  });

  test('in a folder that is in use is refused; the lock that a killed one has left is taken over', async () => {
    const out = newRun();
    const first = startCli(trainArgs(out, 'steps=1000000', 'checkpoints.every=1'));
    await first.seen('step 1/');
    await expect(runTiny(config(), out, { resume: true })).rejects.toMatchObject({
      ...{ code: 'E_LOCKED', message: expect.stringMatching(`in use by process ${first.child.pid} on `) },
    });
    // Stopped and not heard of for an hour, it still is there.
    first.child.kill('SIGSTOP');
    const hourAgo = Date.now() / 1000 - 3600;
    fs.utimesSync(path.join(out, 'run.lock'), hourAgo, hourAgo);
    await expect(runTiny(config(), out, { resume: true })).rejects.toMatchObject({ code: 'E_LOCKED' });
    first.child.kill('SIGKILL');
    await first.ended;
    const steps = Number(/\d+$/.exec((await listCheckpoints(out))[0] ?? '0')![0]) + 1;
    expect((await runTiny(config(`steps=${steps}`, 'checkpoints.every=1'), out, { resume: true })).step).toBe(steps);
  });

  test.each([['null'], ['{}'], ['{"steps": 4'], ['[]']])('whose configuration is %s is refused with a sentence', async (content) => {
    const out = newRun();
    fs.mkdirSync(out);
    fs.writeFileSync(path.join(out, 'config.json'), content);
    for (const resume of [false, true])
      await expect(runTiny(config(), out, { resume })).rejects.toMatchObject({
        ...{ code: 'E_CHECKPOINT', message: expect.stringMatching(/config\.json is damaged: .*Put the configuration/s) },
      });
  });

  test('into a path that cannot be is refused with a sentence', async () => {
    const [a, b, nowhere] = ['link-a', 'link-b', 'link-c'].map((name) => path.join(root, name));
    fs.symlinkSync(b, a);
    fs.symlinkSync(a, b);
    fs.symlinkSync(path.join(root, 'not', 'there'), nowhere);
    for (const [out, message] of [
      [path.join(root, 'x'.repeat(300)), /the name is too long/],
      [a, /lead in a circle|in the way/],
      [nowhere, /leads to nothing|in the way/],
    ] as const)
      await expect(runTiny(config(), out)).rejects.toMatchObject({ code: 'E_WRITE', message: expect.stringMatching(message) });
  });

  test.each([
    ['config.json', 'E_CHECKPOINT'],
    ['metrics.jsonl', 'E_WRITE'],
    ['model.json', 'E_WRITE'],
  ])('in a folder where %s is a folder is refused with a sentence', async (name, code) => {
    const out = newRun();
    fs.mkdirSync(path.join(out, name), { recursive: true });
    await expect(runTiny(config(), out)).rejects.toMatchObject({ code, message: expect.stringMatching(/folder/) });
  });

  test('started twice at once: one trains, the other is refused', async () => {
    const out = newRun();
    const both = [0, 1].map(() => startCli(trainArgs(out, 'steps=200000')));
    const first = await Promise.race(both.map(async ({ ended }, i) => ({ i, code: (await ended).code })));
    expect(first.code).toBe(4);
    expect(both[first.i].output.err).toMatch(/in use by process|holds a run already/);
    const other = both[1 - first.i];
    await other.seen('step 1/');
    other.child.kill('SIGTERM');
    expect((await other.ended).code).toBe(75);
  });

  test('into a path that cannot be written is refused', async () => {
    const file = path.join(root, 'a-file');
    fs.writeFileSync(file, '');
    await expect(runTiny(config(), path.join(file, 'run'))).rejects.toMatchObject({ code: 'E_WRITE' });
    const folder = path.join(root, 'read-only');
    fs.mkdirSync(folder);
    fs.chmodSync(root, 0o755);
    fs.chmodSync(folder, 0o555);
    // Root may write anywhere, so the test is somebody else for a moment.
    const isRoot = process.getuid!() === 0;
    if (isRoot) process.seteuid!(65534);
    try {
      for (const out of [path.join(folder, 'run'), folder])
        await expect(runTiny(config(), out)).rejects.toMatchObject({
          code: 'E_WRITE',
          message: expect.stringMatching(/permission denied/),
        });
    } finally {
      if (isRoot) process.seteuid!(0);
    }
  });
});
