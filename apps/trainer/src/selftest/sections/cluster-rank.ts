/** One process of the cluster's self-test: numbers, order, bandwidth, and what the others see when one process dies. */
import { compile } from '@dit-moe/tensor-ops';
import { type Cluster, PeerError } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { type Finding, holds, measured } from '../finding.js';

/** Bytes of the all-reduce that is timed. */
const BYTES = { cpu: 2 ** 24, gpu: 2 ** 28 } as const;
const TRIALS = 5;

/** Findings of this rank; the last rank kills itself on the way. */
export async function clusterRank(cluster: Cluster, usesGpu: boolean): Promise<Finding[]> {
  const { rank, size, collectives } = cluster;
  const ranks = Array.from({ length: size }, (_, r) => r);
  const sum = ranks.reduce((a, b) => a + b, 0);
  const step = compile(
    (x: tf.Tensor, rows: tf.Tensor) => ({
      sum: collectives.allReduce(x),
      largest: collectives.allReduce(x, 'max'),
      gathered: collectives.allGather(x),
      exchanged: collectives.allToAll(rows),
      part: collectives.reduceScatter(tf.reshape(rows, [size])),
    }),
    { name: 'selftest_collectives' },
  );
  // Row r goes to rank r and says from whom to whom.
  const [x, rows] = [tf.tensor1d([rank]), tf.tensor2d(ranks.map((to) => [100 * rank + to]))];
  const results = await cluster.guard('collectives', () => step.run(x, rows));
  const values = Object.fromEntries(
    await Promise.all(Object.entries(results).map(async ([name, tensor]) => [name, Array.from(await tensor.data())] as const)),
  );
  const equal = (name: string, found: readonly number[], expected: readonly number[]): Finding =>
    holds(name, found.join() === expected.join(), found.join() === expected.join() ? 'exact' : `[${found}], expected [${expected}]`);
  const findings = [
    equal('all-reduce, sum and largest', [...values['sum'], ...values['largest']], [sum, size - 1]),
    equal('order: gather comes in the order of the ranks', values['gathered'], ranks),
    equal(
      'order: all-to-all',
      values['exchanged'],
      ranks.map((from) => 100 * from + rank),
    ),
    equal('reduce-scatter', values['part'], [100 * sum + size * rank]),
    await sameBits(cluster),
    await bandwidth(cluster, usesGpu ? BYTES.gpu : BYTES.cpu),
  ];
  tf.dispose([x, rows, ...Object.values(results)]);
  step.dispose();
  findings.push(await failuresOfAll(cluster, findings));
  findings.push(await abort(cluster));
  return findings;
}

/** Sums whose value depends on their order must be the same on every rank, and again. */
async function sameBits({ collectives, rank, size }: Cluster): Promise<Finding> {
  const wide = tf.tensor1d(Float32Array.from({ length: 5000 }, (_, i) => Math.sin(i * 1.7 + rank) * 10 ** (((i * 7) % 9) - 4)));
  const step = compile(
    (v: tf.Tensor) => {
      const [once, again] = [collectives.allReduce(v), collectives.allReduce(v)];
      const spread = tf.sub(collectives.allReduce(once, 'max'), collectives.allReduce(once, 'min'));
      return tf.max(tf.add(tf.abs(tf.sub(once, again)), spread));
    },
    { name: 'selftest_bits' },
  );
  const largest = await step.run(wide);
  const [apart] = await largest.data();
  tf.dispose([wide, largest]);
  step.dispose();
  return holds('the same bits on every rank, and again', apart === 0, apart === 0 ? `${size} ranks, 5,000 sums` : `up to ${apart} apart`);
}

/** Only rank 0 reports, for all. */
async function failuresOfAll({ collectives }: Cluster, own: readonly Finding[]): Promise<Finding> {
  const total = collectives.allReduce(tf.scalar(own.filter(({ passed }) => !passed).length));
  const [failures] = await total.data();
  total.dispose();
  return holds('checks that failed on some rank', failures === 0, String(failures));
}

async function bandwidth({ collectives, size }: Cluster, bytes: number): Promise<Finding> {
  const x = tf.zeros([bytes / 4]);
  const step = compile((v: tf.Tensor) => tf.sum(collectives.allReduce(v)), { name: 'selftest_bandwidth' });
  let best = Number.POSITIVE_INFINITY;
  for (let trial = 0; trial <= TRIALS; trial++) {
    const start = performance.now();
    const done = await step.run(x);
    await done.data();
    done.dispose();
    if (trial > 0) best = Math.min(best, (performance.now() - start) / 1000);
  }
  step.dispose();
  x.dispose();
  // What each rank sends and receives in a ring, as NCCL's tests count it.
  const rate = (bytes * 2 * (size - 1)) / size / best / 1e9;
  return measured(`all-reduce of ${bytes / 2 ** 20} MiB`, `${(best * 1000).toPrecision(3)} ms, ${rate.toPrecision(3)} GB/s per rank`);
}

/** The last rank dies; the others' next collective must end with an error that says so, and not wait for ever. */
async function abort(cluster: Cluster): Promise<Finding> {
  const step = compile((v: tf.Tensor) => cluster.collectives.allReduce(v), { name: 'selftest_abort' });
  const x = tf.scalar(1);
  // As in a training, where all have met in this step before.
  (await cluster.guard('the step before one process dies', () => step.run(x))).dispose();
  await cluster.barrier('selftest-abort', 60_000);
  if (cluster.rank === cluster.size - 1) process.kill(process.pid, 'SIGKILL');
  const start = performance.now();
  try {
    (await cluster.guard('the step after one process died', () => step.run(x), 60_000)).dispose();
    return holds('abort: one process is killed', false, 'the collective went on without it');
  } catch (error) {
    return holds(
      'abort: one process is killed',
      PeerError.isInstance(error),
      `the others end after ${((performance.now() - start) / 1000).toFixed(1)} s`,
    );
  }
}
