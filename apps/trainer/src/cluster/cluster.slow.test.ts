/** Training by several processes of this machine: the same as by one, and nothing is lost when one dies. */
import fs from 'node:fs';
import path from 'node:path';
import { bundleProgram, type Running } from '@dit-moe/kit/testing';
import { freePort } from '@dit-moe/tensor-ops/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkpointBytes, checkpointFolder, makeRoot, metricsLines, tinyOverrides, writeImages } from '../testing/tiny-run.js';

/** Whether there is time for many processes: `pnpm test:nightly`. */
const nightly = process.env['DIT_MOE_NIGHTLY'] === '1';

const { root, images, newRun } = makeRoot();
let start: Awaited<ReturnType<typeof bundleProgram>>;
beforeAll(async () => {
  start = await bundleProgram(new URL('../cli.ts', import.meta.url));
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

const settings = [...tinyOverrides, 'batchSize=12', 'steps=20', 'checkpoints.every=10', 'optimizer.clipNorm=0.5'];
const train = (out: string, flags: string[], ...overrides: string[]): Running => {
  const set = [...settings, ...overrides].flatMap((override) => ['--set', override]);
  return start(['train', '--data', images, '--out', out, '--threads', '1', '--accept-open-port', ...set, ...flags]);
};
const done = async (running: Running): Promise<void> => {
  const { code } = await running.ended;
  if (code !== 0) throw new Error(`ended with ${code}: ${running.output.err}`);
};
type Routing = { load: number[]; dropRate: number };
type Line = { step: number; loss: number; balance: number; gradNorm: number; routing: Routing[]; validation?: { loss: number } };
const closeTo = (found: number, expected: number, tolerance: number) =>
  expect(Math.abs(found - expected)).toBeLessThanOrEqual(tolerance * Math.max(1, Math.abs(expected)));

test.each([
  ['at once', ['validation={share: 0.3, every: 10, samples: 20}']],
  [
    'in micro-batches, a race balanced within each image and over the step',
    ['accumulation=2', 'model.moe={router: race, scoreFunction: identity, balanceOver: image, losses: {global: 0.1}}'],
  ],
])('two and three processes train as one does, %s', async (_, overrides) => {
  const [one, two, three] = [newRun(), newRun(), newRun()];
  await done(train(one, [], ...overrides));
  await done(train(two, ['--processes', '2'], ...overrides));
  await done(train(three, ['--processes', '3'], ...overrides));
  const expected = metricsLines(one) as Line[];
  expect(expected).toHaveLength(20);
  for (const out of [two, three]) {
    const found = metricsLines(out) as Line[];
    expect(found.map(({ step }) => step)).toEqual(expected.map(({ step }) => step));
    found.forEach((line, i) => {
      // Sums in another order: float32 rounding over 20 steps of AdamW, which divides by the gradient's size.
      closeTo(line.loss, expected[i].loss, 1e-6);
      closeTo(line.gradNorm, expected[i].gradNorm, 1e-5);
      closeTo(line.validation?.loss ?? 0, expected[i].validation?.loss ?? 0, 1e-6);
      // Every rank's counters reach the line.
      expect(line.routing.map(({ load }) => load.reduce((a, b) => a + b))).toEqual(
        expected[i].routing.map(({ load }) => load.reduce((a, b) => a + b)),
      );
    });
  }
});

const stateFiles = ['weights', 'ema', 'optimizer', 'telemetry'];

test('a rank that is killed ends all; started again, with the optimizer shared out, they give the bits of a calm run without', async () => {
  const [calm, harmed] = [newRun(), newRun()];
  // So many steps that all are not done before the kill.
  await done(train(calm, ['--processes', '2'], 'steps=100'));
  const running = train(harmed, ['--processes', '2', '--restarts', '2'], 'steps=100', 'parallel.zero=1', 'sampling.every=7');
  await running.until(() => fs.existsSync(checkpointFolder(harmed, 10)));
  const ranks = fs.readFileSync(`/proc/${running.child.pid}/task/${running.child.pid}/children`, 'utf8').trim().split(' ').map(Number);
  expect(ranks).toHaveLength(2);
  process.kill(ranks[1], 'SIGKILL');
  expect((await running.ended).code).toBe(0);
  expect(running.output.err).toMatch(/rank [01] ended with code \d+; starting all 2 again \(1 of 2\)/);
  expect(running.output.err).toMatch(/resumed at step/);
  for (const file of stateFiles) expect(checkpointBytes(harmed, 100, file).equals(checkpointBytes(calm, 100, file)), file).toBe(true);
  // The picture is of the average, put together.
  const picture = 'samples/step-00000100.png';
  expect(fs.readFileSync(`${harmed}/${picture}`).equals(fs.readFileSync(`${calm}/${picture}`))).toBe(true);
});

test('what two processes shared out goes on on one, and then on four', async () => {
  const moved = ['accumulation=3', 'ema=[0.5, 0.9]', 'parallel.zero=2'];
  const [expected, moving] = [newRun(), newRun()];
  await done(train(expected, [], 'steps=15', ...moved));
  await done(train(moving, ['--processes', '2'], 'steps=5', ...moved));
  await done(train(moving, ['--resume'], 'steps=10', ...moved));
  await done(train(moving, ['--resume', '--processes', '4'], 'steps=15', ...moved));
  const losses = (out: string) => (metricsLines(out) as Line[]).map(({ loss }) => loss);
  for (const [i, loss] of losses(moving).entries()) closeTo(loss, losses(expected)[i], 1e-6);
  expect(losses(moving)).toHaveLength(15);
});

const fourExperts = ['model.moe.numExperts=4', 'ema=[0.5, 0.9]', 'checkpoints.every=5', 'steps=10'];

type Shared = [name: string, processes: number, overrides: string[]];
test.each<Shared>([
  ['two processes, in micro-batches', 2, ['accumulation=2', 'parallel={experts: 2, zero: 2}', 'model.moe={loadBias: 0.001}']],
])('experts shared out train as on one process: %s', sharedExperts);
test.skipIf(!nightly).each<Shared>([
  ['two pairs, with the optimizer shared out', 4, ['parallel={experts: 2, zero: 1}']],
  ['four processes, recomputed', 4, ['parallel={experts: 4}', 'recompute=true']],
  ['two processes, each expert the best tokens of an image', 2, ['parallel={experts: 2}', 'model.moe={router: expert-choice}']],
  ['two processes, by the time', 2, ['parallel={experts: 2}', 'model.moe={router: timestep, topK: 1}']],
  ['two processes, by prototypes', 2, ['parallel={experts: 2}', 'model.moe={router: prototypes}']],
])('experts shared out train as on one process: %s (nightly)', sharedExperts);

async function sharedExperts(...[, processes, overrides]: Shared): Promise<void> {
  const [one, many] = [newRun(), newRun()];
  await done(train(one, [], ...fourExperts, ...overrides));
  await done(train(many, ['--processes', String(processes)], ...fourExperts, ...overrides));
  const [expected, found] = [one, many].map((out) => metricsLines(out) as Line[]);
  expect(found).toHaveLength(10);
  for (const [i, line] of found.entries()) {
    closeTo(line.loss, expected[i].loss, 1e-6);
    closeTo(line.gradNorm, expected[i].gradNorm, 1e-5);
    // A step that is done again with more room is counted once.
    const counts = ({ routing }: Line) => routing.map(({ load, dropRate }) => ({ load, dropRate }));
    expect(counts(line)).toEqual(counts(expected[i]));
  }
  // The checkpoint is that of one process, which goes on from it.
  for (const file of [...stateFiles, 'ema-0.9'])
    expect(checkpointBytes(many, 10, file).length, file).toBe(checkpointBytes(one, 10, file).length);
  fs.rmSync(checkpointFolder(many, 10), { recursive: true });
  await done(train(many, ['--resume'], ...fourExperts, ...overrides));
  closeTo((metricsLines(many) as Line[])[9].loss, expected[9].loss, 1e-6);
}

test.skipIf(!nightly)('a step that lacks room is done again with more (nightly)', async () => {
  const out = newRun();
  await done(train(out, ['--processes', '2'], ...fourExperts, 'parallel={experts: 2}'));
  const { record } = JSON.parse(fs.readFileSync(`${checkpointFolder(out, 10)}/manifest.json`, 'utf8'));
  // More than what the first step left room for.
  expect(record.crowding).toBeGreaterThan(Math.SQRT2);
});

test.skipIf(!nightly)('what finds no room is counted in the metrics (nightly)', async () => {
  const out = newRun();
  await done(train(out, ['--processes', '2'], ...fourExperts, 'parallel={experts: 2, capacity: 0.5}'));
  for (const { routing } of metricsLines(out) as Line[]) for (const { dropRate } of routing) expect(dropRate).toBeGreaterThan(0.3);
});

test('a stop asked of one rank stops all after the same step, saved, and one process goes on from there', async () => {
  const out = newRun();
  const running = train(out, ['--processes', '2'], 'steps=100000', 'checkpoints.every=100000');
  await running.seen('step 3');
  running.child.kill('SIGTERM');
  expect((await running.ended).code).toBe(75);
  const [folder] = fs.readdirSync(`${out}/checkpoints`).filter((name) => name.startsWith('step-'));
  const step = Number(folder.slice('step-'.length));
  await done(train(out, ['--resume'], `steps=${step + 2}`));
  expect(metricsLines(out).at(-1)).toMatchObject({ step: step + 2 });
});

test('what cannot be shared out is refused before anything starts', async () => {
  for (const [override, message] of [
    ['batchSize=3', /batchSize 3 cannot be shared by 2 processes: choose a multiple of 2/],
    ['parallel.experts=2', /parallel.experts 2 must divide the experts of a layer, which are 3/],
  ] as const) {
    const uneven = train(newRun(), ['--processes', '2'], override);
    expect((await uneven.ended).code).toBe(2);
    expect(uneven.output.err).toMatch(message);
  }
});

test('processes that see other files under the same path are refused', async () => {
  const folders = ['here', 'there'].map((name) => path.join(root, name));
  for (const folder of folders) writeImages(path.join(folder, 'pictures'), folder === folders[0] ? 3 : 4);
  const port = String(await freePort());
  const set = settings.flatMap((override) => ['--set', override]);
  const ranks = folders.map((folder, rank) =>
    start(['train', '--data', '/proc/self/cwd/pictures', '--out', newRun(), '--threads', '1', '--accept-open-port', ...set], {
      env: { RANK: String(rank), WORLD_SIZE: '2', MASTER_ADDR: '127.0.0.1', MASTER_PORT: port },
      prefix: ['sh', '-c', 'cd "$0" && exec "$@"', folder],
    }),
  );
  const outcomes = await Promise.all(ranks.map(({ ended }) => ended));
  expect(outcomes.map(({ code }) => code)).toContain(3);
  for (const { code, err } of outcomes) {
    // Who has not seen it yet hears it from the other.
    expect([3, 9]).toContain(code);
    expect(err).toMatch(/The data is not the same on all 2 ranks: every machine must see the same files/);
  }
});
