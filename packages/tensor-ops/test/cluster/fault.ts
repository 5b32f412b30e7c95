/**
 * One rank of the test of faults: one rank, the last argument, fails in some way before its fourth step; all others print what they see,
 * at what step, and what becomes of a collective after that.
 */
import * as tf from '@tensorflow/tfjs-core';
import { compile, type DitMoeError } from '../../src/index.js';
import { joinCluster, launchInfo, useTensorFlow } from '../../src/node/index.js';

const [fault, who] = process.argv.slice(2);
const launch = launchInfo(process.env);
if (launch === undefined) throw new Error('no launcher');
const cluster = await joinCluster(launch, { agreement: { fault, who }, acceptOpenPort: true });
await useTensorFlow({ threads: 1, interOpThreads: 2, cluster });
const { collectives } = cluster;
const fails = cluster.rank === Number(who);
/** Ranks record a step when it first runs; later a rank that records another is alone with it. */
const at = fault.endsWith('at first') ? 0 : 3;
const step = compile((x: tf.Tensor) => collectives.allReduce(x), { name: 'step' });
const swapped = compile(
  (x: tf.Tensor) => {
    const first = collectives.allReduce(x);
    return tf.add(first, collectives.allReduce(tf.mul(first, 2)));
  },
  { name: 'step' },
);
let steps = 0;
/**
 * The watchdog of the others is for a process that lives and never comes; it must not hide what TensorFlow itself notices, nor strike at
 * home or before.
 */
const timeoutMs = () => (steps === at && (fault === 'type' || (fault === 'absent' && !fails)) ? 3000 : 60_000);
/** A rank that is done with a step fails so much later: the others are done with it, too, and have gone on. */
const LATER_MS = 1000;

const pause = (ms: number): Promise<undefined> => new Promise((resolve) => setTimeout(resolve, ms));
const signal = (name: NodeJS.Signals): undefined => {
  process.kill(process.pid, name);
};

/** What the failing rank does in place of its fourth step. */
const faults: Record<string, () => Promise<tf.Tensor | undefined> | undefined> = {
  kill: () => signal('SIGKILL'),
  stop: () => signal('SIGSTOP'),
  'kill while the others compute': () => signal('SIGKILL'),
  'kill before a barrier': () => signal('SIGKILL'),
  exit: () => process.exit(0),
  absent: () => pause(10_000),
  report: async () => {
    cluster.report('the disk is full');
    // The others shall hear this before they see it gone.
    await pause(5000);
    process.exit(4);
  },
  type: () => step.run(tf.ones([1000], 'int32')),
  'shape at first': () => step.run(tf.ones([999])),
  'type at first': () => step.run(tf.ones([1000], 'int32')),
  'order at first': () => swapped.run(tf.ones([1000])),
};

/** Says what a step that failed has said, and what becomes of the next. */
async function end({ code, message }: { code: string; message: string }): Promise<never> {
  const start = performance.now();
  const later = await outcome(() => step.run(tf.ones([1000])), 60_000);
  console.log(JSON.stringify({ code, message, steps, later: { ...later, ms: performance.now() - start } }));
  process.exit(9);
}

/** Code and words of what becomes of a step. */
async function outcome(run: () => Promise<tf.Tensor>, waitMs: number): Promise<{ code: string; message: string }> {
  try {
    const result = await cluster.guard(`step ${steps}`, run, waitMs);
    const [sum] = await result.data();
    return { code: 'none', message: String(sum) };
  } catch (error) {
    const { code, message } = error as DitMoeError;
    return { code, message };
  }
}

for (;;) {
  const run = () => step.run(tf.ones([1000]));
  if (!fails && steps === at && fault === 'kill while the others compute') await pause(5 * LATER_MS);
  if (!fails && steps === at && fault === 'kill before a barrier') await cluster.barrier('here').catch(end);
  if (fails && steps === at && at > 0) await pause(LATER_MS);
  const { code, message } = await outcome(async () => (fails && steps === at ? ((await faults[fault]()) ?? run()) : run()), timeoutMs());
  if (code === 'none' && message === String(cluster.size) && steps < 100) {
    steps++;
    continue;
  }
  await end({ code, message });
}
