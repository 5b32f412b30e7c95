/** One rank of the test of faults: rank 1 fails in some way before its fourth step; rank 0 prints what it sees, and when. */
import * as tf from '@tensorflow/tfjs-core';
import { compile, type DitMoeError } from '../../src/index.js';
import { joinCluster, launchInfo, useTensorFlow } from '../../src/node/index.js';

const fault = process.argv[2];
const launch = launchInfo(process.env);
if (launch === undefined) throw new Error('no launcher');
const cluster = await joinCluster(launch, { agreement: { fault }, acceptOpenPort: true });
await useTensorFlow({ threads: 1, interOpThreads: 2, cluster });
const step = compile((x: tf.Tensor) => cluster.collectives.allReduce(x), { name: 'step' });
// The watchdog of the others is for a process that lives and never comes; it must not hide what TensorFlow itself notices.
const timeoutMs = fault === 'absent' ? 2000 : 60_000;
let steps = 0;
try {
  for (; steps < 100; steps++) {
    if (cluster.rank === 1 && steps === 3) {
      if (fault === 'kill') process.kill(process.pid, 'SIGKILL');
      if (fault === 'stop') process.kill(process.pid, 'SIGSTOP');
      if (fault === 'exit') process.exit(0);
      if (fault === 'absent') await new Promise((resolve) => setTimeout(resolve, 10_000));
      if (fault === 'report') {
        cluster.report('the disk is full');
        await new Promise((resolve) => setTimeout(resolve, 2000));
        process.exit(4);
      }
    }
    const result = await cluster.guard(`step ${steps}`, () => step.run(tf.ones([1000])), timeoutMs);
    if ((await result.data())[0] !== cluster.size) throw new Error('wrong sum');
  }
  process.exit(0);
} catch (error) {
  const { code, message } = error as DitMoeError;
  console.log(JSON.stringify({ code, message, steps }));
  process.exit(9);
}
