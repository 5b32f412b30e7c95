/** One rank of the test of the collectives: computes each, eagerly and in a compiled step, and prints the results. */
import crypto from 'node:crypto';
import * as tf from '@tensorflow/tfjs-core';
import { compile, DataType, type DitMoeError, tensorFlowBackend, valueAndGrads } from '../../src/index.js';
import { joinCluster, launchInfo, useTensorFlow } from '../../src/node/index.js';

const launch = launchInfo(process.env);
if (launch === undefined) throw new Error('no launcher');
const cluster = await joinCluster(launch, { agreement: { program: 'collectives' }, acceptOpenPort: true });
const runtime = await useTensorFlow({ threads: 1, interOpThreads: 2, cluster });
const { rank, size, collectives } = cluster;
const backend = tensorFlowBackend();
if (backend === undefined) throw new Error('no runtime');

const mine = (scale: number): tf.Tensor => tf.tensor1d(Float32Array.from({ length: 2 * size }, (_, i) => scale * (rank + 1) + i));
/** Numbers whose sums depend on their order. */
const wide = tf.tensor1d(Float32Array.from({ length: 5000 }, (_, i) => Math.sin(i * 1.7 + rank) * 10 ** (((i * 7) % 9) - 4)));
const bf16 = (x: tf.Tensor): tf.Tensor => backend.raw('Cast', [x], { DstT: { type: DataType.bfloat16 } })[0];
const float = (x: tf.Tensor): tf.Tensor => backend.raw('Cast', [x], { DstT: { type: DataType.float32 } })[0];

const all = (x: tf.Tensor) => ({
  sum: collectives.allReduce(x),
  max: collectives.allReduce(x, 'max'),
  min: collectives.allReduce(x, 'min'),
  scatter: collectives.reduceScatter(x),
  gather: collectives.allGather(x),
  exchange: collectives.allToAll(tf.reshape(x, [size, 2])),
  halfGather: float(collectives.allGather(bf16(x))),
  scalar: collectives.allReduce(tf.scalar(rank)),
});
const read = async (tensors: Record<string, tf.Tensor>) =>
  Object.fromEntries(
    await Promise.all(Object.entries(tensors).map(async ([name, x]) => [name, { shape: x.shape, values: [...(await x.data())] }] as const)),
  );
const hash = async (x: tf.Tensor) =>
  crypto
    .createHash('sha256')
    .update(new Uint8Array((await x.data()).buffer))
    .digest('hex');

const eager = await read(all(mine(10)));
const step = compile((x: tf.Tensor) => all(x), { name: 'all' });
const compiled = await read(await cluster.guard('all', () => step.run(mine(10))));
const again = await read(await cluster.guard('all', () => step.run(mine(15))));

const reduce = compile((x: tf.Tensor) => collectives.allReduce(x), { name: 'reduce' });
const hashes = [await hash(await reduce.run(wide)), await hash(await reduce.run(wide))];

// d/dx of sum(w * exchange(x)) is exchange(w): it comes from the ranks to which the rows went.
const weights = tf.reshape(mine(3), [size, 2]);
const given = { x: tf.ones([size, 2]) };
const { grads } = valueAndGrads(() => ({ loss: tf.sum(tf.mul(weights, collectives.allToAll(given.x))) }), given);

// Two groups of every other rank, and all, in one step.
const near = collectives.group(Array.from({ length: size }, (_, i) => i).filter((i) => i % 2 === rank % 2));
const grouped = compile((x: tf.Tensor) => ({ near: near.allReduce(x), all: collectives.allReduce(x) }), { name: 'grouped' });
const groups = await read(await cluster.guard('grouped', () => grouped.run(tf.scalar(2 ** rank))));

const refused: string[] = [];
for (const call of [
  () => collectives.allReduce(tf.zeros([0])),
  () => collectives.reduceScatter(tf.zeros([size + 1])),
  () => collectives.allToAll(tf.zeros([size + 1])),
  () => collectives.allGather(tf.scalar(1)),
  () => collectives.group([]),
])
  try {
    call();
  } catch (error) {
    refused.push((error as DitMoeError).code);
  }
await cluster.barrier('end', 30_000);
const devices = runtime.devices.map(({ name }) => name);
const gradient = await grads['x'].array();
console.log(JSON.stringify({ rank, devices, eager, compiled, again, hashes, gradient, groups, refused }));
process.exit(0);
