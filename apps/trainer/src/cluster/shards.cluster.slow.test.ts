/** Checkpoints that the processes of a cluster write in shards: what is in them, who goes on from them, and what a kill leaves. */
import fs from 'node:fs';
import path from 'node:path';
import { bundleProgram, type Running } from '@dit-moe/kit/testing';
import { openCheckpoint, readManifest, storedTensors } from '@dit-moe/tensor-ops/io/node';
import { freePort } from '@dit-moe/tensor-ops/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkpointFolder, makeRoot, metricsLines, tinyOverrides } from '../testing/tiny-run.js';
import { verifyCheckpoint } from '../training/checkpoints.js';
import { listCheckpoints } from '../training/retention.js';

/** Whether there is time for many processes: `pnpm test:nightly`. */
const nightly = process.env['DIT_MOE_NIGHTLY'] === '1';

const { root, images, newRun } = makeRoot();
let start: Awaited<ReturnType<typeof bundleProgram>>;
let startSharding: typeof start;
beforeAll(async () => {
  start = await bundleProgram(new URL('../cli.ts', import.meta.url));
  startSharding = await bundleProgram(new URL('../testing/sharding-cli.ts', import.meta.url));
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

const settings = [...tinyOverrides, 'batchSize=12', 'steps=10', 'checkpoints.every=5', 'model.moe.numExperts=4', 'ema=[0.5, 0.9]'];
const train = (program: typeof start, out: string, flags: string[], ...overrides: string[]): Running => {
  const set = [...settings, ...overrides].flatMap((override) => ['--set', override]);
  return program(['train', '--data', images, '--out', out, '--threads', '1', '--accept-open-port', ...set, ...flags]);
};
const done = async (running: Running): Promise<string> => {
  const { code, out } = await running.ended;
  if (code !== 0) throw new Error(`ended with ${code}: ${running.output.err}`);
  return out;
};

/** All tensors of a checkpoint, by file and name. */
async function tensorsOf(folder: string): Promise<Map<string, ArrayLike<unknown>>> {
  const tensors = new Map<string, ArrayLike<unknown>>();
  for (const [stem, { file }] of Object.entries(storedTensors(await readManifest(folder)))) {
    const checkpoint = await openCheckpoint(path.join(folder, file));
    for (const name of checkpoint.names) tensors.set(`${stem}/${name}`, (await checkpoint.read(name)).data);
    await checkpoint.close();
  }
  return tensors;
}

type Shared = [what: string, processes: string, parallel: string];
const title = 'shards of %s hold what one file would, are exported as it, and any number of processes goes on from them';
test.each<Shared>([['the optimizer', '2', 'parallel.zero=2']])(title, shardsAreThoseOfOneFile);
test.skipIf(!nightly).each<Shared>([['the experts and the optimizer', '4', 'parallel={experts: 2, zero: 1}']])(
  `${title} (nightly)`,
  shardsAreThoseOfOneFile,
);

async function shardsAreThoseOfOneFile(...[, processes, parallel]: Shared): Promise<void> {
  const [whole, shards] = [newRun(), newRun()];
  await done(train(start, whole, ['--processes', processes], parallel));
  await done(train(startSharding, shards, ['--processes', processes], parallel));
  const folder = checkpointFolder(shards, 10);
  const files = fs.readdirSync(folder);
  for (const name of ['weights', 'ema', 'ema-0.9', 'optimizer'])
    expect(files.filter((file) => file.startsWith(`${name}-0000`))).toHaveLength(Number(processes));
  expect(await tensorsOf(folder)).toEqual(await tensorsOf(checkpointFolder(whole, 10)));
  // Older ones were deleted, as `checkpoints.keep` says, and nothing unfinished is left.
  expect(fs.readdirSync(path.join(shards, 'checkpoints')).sort()).toEqual(fs.readdirSync(path.join(whole, 'checkpoints')).sort());
  const exported = async (run: string, to: string): Promise<Buffer> => {
    const out = path.join(root, `${path.basename(run)}-${to}`);
    await done(start(['export', run, '--to', 'safetensors', '--weights', to, '--out', `${out}.safetensors`]));
    return fs.readFileSync(`${out}.safetensors`);
  };
  for (const weights of ['ema', 'ema-0.9', 'weights'])
    expect((await exported(shards, weights)).equals(await exported(whole, weights)), weights).toBe(true);
  expect(await done(start(['inspect', shards]))).toMatch(/sharded, F32.*step +10.*verified +\d+ files by sha256/s);

  // On to one process, whose checkpoint is in whole files, and back.
  for (const run of [whole, shards]) {
    await done(train(start, run, ['--resume'], parallel, 'steps=15'));
    await done(train(run === shards ? startSharding : start, run, ['--resume', '--processes', '4'], parallel, 'steps=20'));
  }
  expect(fs.readdirSync(checkpointFolder(shards, 15))).toContain('ema.safetensors');
  expect(await tensorsOf(checkpointFolder(shards, 20))).toEqual(await tensorsOf(checkpointFolder(whole, 20)));
  expect(metricsLines(shards)).toHaveLength(20);
}

test('a rank that is killed while all write leaves the checkpoint before; started again, the run gives the bits of a calm one', async () => {
  const [calm, harmed] = [newRun(), newRun()];
  const overrides = ['steps=60', 'checkpoints.every=2', 'checkpoints.keep=100', 'parallel.zero=1', 'logEvery=60'];
  await done(train(startSharding, calm, ['--processes', '2'], ...overrides));
  const torn: boolean[] = [];
  for (const [i, victim] of [1, 0, 1, 0].entries()) {
    const running = train(startSharding, harmed, ['--processes', '2', ...(i > 0 ? ['--resume'] : [])], ...overrides);
    const unfinished = () => {
      const folder = path.join(harmed, 'checkpoints');
      return fs.existsSync(folder) && fs.readdirSync(folder).some((name) => name.startsWith('.tmp'));
    };
    const before = (await listCheckpoints(harmed)).length;
    // In the third save of this process.
    await running.until(async () => (await listCheckpoints(harmed)).length >= before + 2 && unfinished());
    const ranks = fs.readFileSync(`/proc/${running.child.pid}/task/${running.child.pid}/children`, 'utf8').trim().split(' ').map(Number);
    process.kill(ranks[victim], 'SIGKILL');
    expect([9, 137]).toContain((await running.ended).code);
    torn.push(unfinished());
    for (const folder of await listCheckpoints(harmed)) await verifyCheckpoint(folder);
  }
  // Some kill did hit the writing.
  expect(torn).toContain(true);
  await done(train(startSharding, harmed, ['--processes', '2', '--resume'], ...overrides));
  expect(fs.readdirSync(path.join(harmed, 'checkpoints')).filter((name) => !name.startsWith('step-'))).toEqual([]);
  expect(await tensorsOf(checkpointFolder(harmed, 60))).toEqual(await tensorsOf(checkpointFolder(calm, 60)));
});

test('a rank that cannot write its shards: all go on and then end with code 4, it is named, and the checkpoint before is whole', async () => {
  const out = newRun();
  const overrides = [...settings, 'model.hiddenSize=64', 'parallel.zero=1', 'checkpoints.every=1'].flatMap((override) => [
    '--set',
    override,
  ]);
  const port = String(await freePort());
  const ranks = (flags: string[], limit: string): Running[] =>
    [0, 1].map((rank) =>
      startSharding(['train', '--data', images, '--out', out, '--threads', '1', '--accept-open-port', ...overrides, ...flags], {
        env: { RANK: String(rank), WORLD_SIZE: '2', MASTER_ADDR: '127.0.0.1', MASTER_PORT: port },
        prefix: ['bash', '-c', `ulimit -f ${rank === 1 ? limit : 'unlimited'}; exec "$0" "$@"`],
      }),
    );
  for (const running of ranks(['--set', 'steps=2'], 'unlimited')) await done(running);
  // Kibibytes; the moments of rank 1 alone are larger.
  const [first, second] = await Promise.all(ranks(['--resume', '--set', 'steps=50'], '100').map(({ ended }) => ended));
  expect([first.code, second.code], `${first.err}${second.err}`).toEqual([4, 4]);
  expect(first.err).toMatch(/WARNING: the checkpoint could not be saved \(1 in a row\): .*Rank 1: .*exceeds the size limit/);
  expect(first.err).toMatch(/3 checkpoints in a row could not be saved\. .*Rank 1: .*step-00000002 is the newest one saved/);
  expect(second.err).toMatch(/exceeds the size limit/);
  expect((await verifyCheckpoint(checkpointFolder(out, 2))).record.step).toBe(2);
  expect(fs.readdirSync(path.join(out, 'checkpoints')).filter((name) => !name.startsWith('step-'))).toEqual([]);
});

test('a damaged shard is seen, its checkpoint is moved aside, and the run goes on from the one before', async () => {
  const out = newRun();
  await done(train(startSharding, out, ['--processes', '2'], 'parallel.zero=1'));
  const shard = path.join(checkpointFolder(out, 10), 'optimizer-00002-of-00002.safetensors');
  const bytes = fs.readFileSync(shard);
  bytes[bytes.length - 1] ^= 1;
  fs.writeFileSync(shard, bytes);
  const resumed = train(startSharding, out, ['--resume', '--processes', '2'], 'parallel.zero=1');
  await done(resumed);
  expect(resumed.output.err).toMatch(/optimizer-00002-of-00002.safetensors is damaged.*resumed at step 5/s);
  expect(fs.readdirSync(path.join(out, 'checkpoints')).sort()).toEqual(['damaged-step-00000010', 'step-00000005', 'step-00000010']);
});
