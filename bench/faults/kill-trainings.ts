/**
 * Whole trainings, killed at random moments of starting, training and saving until they come to their end: each must end with the bits
 * of an undisturbed one.
 *
 * `tsx --conditions=@dit-moe/source bench/faults/kill-trainings.ts [kills] [seed] [seconds]`; the seed is printed, and repeats the moments. It ends
 * after so many seconds at the latest.
 */
import fs from 'node:fs';
import path from 'node:path';
import { uniformRows } from '@dit-moe/tensor-ops';
import { bundleProgram } from '../../apps/kit/src/testing/bundle-program.js';
import { checkpointBytes, curveOf, makeRoot, tinyOverrides } from '../../apps/trainer/src/testing/tiny-run.js';

const kills = Number(process.argv[2] ?? 20);
const seed = Number(process.argv[3] ?? Date.now() % 1e6);
const seconds = Number(process.argv[4] ?? Number.POSITIVE_INFINITY);
/** Long enough for several kills, and a checkpoint every few steps. */
const STEPS = 300;
/** Latest moment of a kill after the first step or, of every other one, after the start. */
const LATEST_MS = 2000;
const FILES = ['weights', 'ema', 'optimizer', 'telemetry'];

const { root, images, newRun } = makeRoot();
const start = await bundleProgram(new URL('../../apps/trainer/src/cli.ts', import.meta.url));
const settings = [...tinyOverrides, `steps=${STEPS}`, 'checkpoints.every=10', 'checkpoints.keep=3', 'logEvery=7', 'sampling.every=100'];
const train = (out: string, resume: boolean) =>
  start([
    'train',
    '--data',
    images,
    '--out',
    out,
    '--threads',
    '1',
    ...(resume ? ['--resume'] : []),
    ...settings.flatMap((s) => ['--set', s]),
  ]);

const whole = newRun();
const undisturbed = train(whole, false);
if ((await undisturbed.ended).code !== 0) throw new Error(undisturbed.output.err);
const equal = (out: string): boolean =>
  FILES.every((file) => checkpointBytes(out, STEPS, file).equals(checkpointBytes(whole, STEPS, file))) &&
  JSON.stringify(curveOf(out)) === JSON.stringify(curveOf(whole));

const began = performance.now();
const inTime = (): boolean => performance.now() - began < 1000 * seconds;
const counts = { kills: 0, runs: 0, equal: 0, leftovers: 0 };
const failures: string[] = [];
while (counts.kills < kills && inTime()) {
  const out = newRun();
  for (let attempt = 0; ; attempt++) {
    const running = train(out, attempt > 0);
    if (counts.kills < kills && inTime()) {
      const [which, when] = uniformRows({ seed, purpose: 'kill', indices: [counts.kills] }, 2);
      if (which < 0.7) await Promise.race([running.seen('step 1'), running.ended]);
      const timer = setTimeout(() => running.child.kill('SIGKILL'), when * LATEST_MS);
      const { code } = await running.ended;
      clearTimeout(timer);
      if (code === 0) break;
      if (code !== 'SIGKILL') {
        failures.push(`kill ${counts.kills}: ended with ${code}: ${running.output.err.slice(-400)}`);
        break;
      }
      counts.kills++;
    } else {
      const { code } = await running.ended;
      if (code !== 0) failures.push(`after kill ${counts.kills}: ended with ${code}: ${running.output.err.slice(-400)}`);
      break;
    }
  }
  counts.runs++;
  if (fs.existsSync(path.join(out, 'checkpoints', `step-${String(STEPS).padStart(8, '0')}`)) && equal(out)) counts.equal++;
  else failures.push(`run ${counts.runs} differs from the undisturbed one`);
  counts.leftovers += [out, path.join(out, 'checkpoints')]
    .flatMap((folder) => fs.readdirSync(folder))
    .filter((name) => name.startsWith('.tmp')).length;
  fs.rmSync(out, { recursive: true, force: true });
}
fs.rmSync(root, { recursive: true, force: true });
console.log(
  `seed ${seed}: ${counts.kills} kills in ${counts.runs} trainings, ${counts.equal} equal to the undisturbed one, ${counts.leftovers} leftovers`,
);
for (const failure of failures) console.log(failure);
process.exit(failures.length === 0 ? 0 : 1);
