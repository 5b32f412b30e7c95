/** One process of the benchmark of a cluster: what is measured on every rank at the same time, and told by each. */
import fs from 'node:fs';
import { compile, RankMean } from '@dit-moe/tensor-ops';
import { type Cluster, joinCluster, launchInfo, useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { modelConfig, resolveConfig } from '../../apps/trainer/src/config/resolve.js';
import { type Sent, sentBy } from '../../apps/trainer/src/planning/planned-cluster.js';
import { TrainingState } from '../../apps/trainer/src/training/state.js';
import { median } from '../harness/measure.js';
import { answer, inOwnProcess } from '../harness/own-process.js';

export interface RankRequest {
  section: 'buckets' | 'step' | 'steady';
  steps: number;
  /** Of `step` and `steady`. */
  overrides: readonly string[];
}

/** What a rank has measured; milliseconds are medians. */
export type RankAnswer = Record<string, Measured>;
/** Clock and processor milliseconds of a run, or another number. */
export type Measured = { clock: number; cpu: number } | number;

/** Bytes of the reduction of `buckets`. */
export const BYTES = 132e6;

/** Starts `count` processes that measure together; rank 0's answer comes first. */
export async function measureTogether(count: number, port: number, request: RankRequest): Promise<RankAnswer[]> {
  const of = (rank: number) => ({
    RANK: String(rank),
    LOCAL_RANK: String(rank),
    WORLD_SIZE: String(count),
    LOCAL_WORLD_SIZE: String(count),
  });
  const place = { MASTER_ADDR: '127.0.0.1', MASTER_PORT: String(port) };
  return Promise.all(
    Array.from({ length: count }, (_, rank) => inOwnProcess<RankAnswer>(import.meta.url, request, { ...of(rank), ...place })),
  );
}

/** Medians over the runs; the first two warm up. */
async function time(runs: number, run: () => Promise<void>): Promise<{ clock: number; cpu: number }> {
  const [clock, cpu]: [number[], number[]] = [[], []];
  for (let i = 0; i < runs + 2; i++) {
    const [start, before] = [performance.now(), process.cpuUsage()];
    await run();
    const { user, system } = process.cpuUsage(before);
    if (i < 2) continue;
    clock.push(performance.now() - start);
    cpu.push((user + system) / 1000);
  }
  return { clock: median(clock), cpu: median(cpu) };
}

/** Gradients of one shape each, reduced in buckets of some size. */
async function reduction(cluster: Cluster, shapes: Record<string, readonly number[]>, runs: number, bytes?: number) {
  const mean = new RankMean(cluster.collectives, shapes, bytes === undefined ? {} : { bytes });
  const names = Object.keys(shapes);
  const grads = names.map((name) => tf.zeros([...shapes[name]]));
  const step = compile(
    (...given: tf.Tensor[]) => {
      const reduced = mean.gradients(Object.fromEntries(names.map((name, i) => [name, given[i]])));
      return tf.add(reduced.squares, tf.addN(Object.values(reduced.grads).map((grad) => tf.sum(grad))));
    },
    { name: 'reduction' },
  );
  const measured = await time(runs, async () => {
    const done = await cluster.guard('a reduction', () => step.run(...grads));
    await done.data();
    done.dispose();
  });
  tf.dispose(grads);
  step.dispose();
  return measured;
}

async function buckets(cluster: Cluster, runs: number): Promise<RankAnswer> {
  const numbers = BYTES / 4;
  const rows = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`g${i}`, [numbers / count]]));
  return {
    'in one tensor': await reduction(cluster, rows(1), runs, BYTES),
    'in 33 buckets of 4 MB': await reduction(cluster, rows(33), runs),
    'in 8 buckets of 16.5 MB': await reduction(cluster, rows(8), runs, BYTES / 8),
  };
}

/** A training of the digits preset on made-up pictures. */
function training(overrides: readonly string[], size: number, cluster?: Cluster) {
  const config = resolveConfig({ preset: 'digits', overrides: [...overrides] });
  const classNames = Array.from({ length: 10 }, (_, i) => String(i));
  const model = modelConfig(config, { channels: 1, height: 8, width: 8, classNames });
  const state = new TrainingState(model, config, undefined, cluster);
  // In a cluster this rank's part; alone as many, so that both compute the same.
  const count = config.batchSize / size;
  const shape = [count, model.inChannels, ...model.inputSize];
  const step = async (): Promise<void> => {
    const [x, noise] = [1, 2].map((seed) => tf.randomNormal(shape, 0, 1, 'float32', seed));
    const drawn = tf.randomNormal([count], 0, 1, 'float32', 3) as tf.Tensor1D;
    const y = tf.tensor1d(Int32Array.from({ length: count }, (_, i) => i % 10));
    await state.step([{ x: x as tf.Tensor4D, noise: noise as tf.Tensor4D, drawn, y }], 1e-4);
  };
  return { state, step };
}

async function step(cluster: Cluster, runs: number, overrides: readonly string[]): Promise<RankAnswer> {
  const sent: Sent = {};
  const counting = Object.assign(Object.create(cluster) as Cluster, { collectives: sentBy(cluster.collectives, sent) });
  const together = training(overrides, cluster.size, counting);
  await together.step();
  // What a recording has counted is what each step sends.
  const bytes = Object.fromEntries(Object.entries(sent).map(([kind, count]) => [`sent by ${kind}`, count]));
  const whole = await time(runs, together.step);
  const shapes = Object.fromEntries(Object.entries(together.state.parameters).map(([name, { shape }]) => [name, shape]));
  together.state.dispose();
  const reduced = await reduction(cluster, shapes, runs);
  await cluster.barrier('alone', 60_000);
  // Both at the same time, as in the whole.
  const unshared = overrides.filter((override) => !override.startsWith('parallel'));
  const alone = training(unshared, cluster.size);
  const computed = await time(runs, alone.step);
  alone.state.dispose();
  return { ...bytes, 'whole step': whole, 'computing alone': computed, 'reducing the gradients alone': reduced };
}

const status = (field: string): number => Number(new RegExp(`${field}:\\s+(\\d+)`).exec(fs.readFileSync('/proc/self/status', 'utf8'))![1]);

/** Threads and resident memory during many steps. */
async function steady(cluster: Cluster, steps: number, overrides: readonly string[]): Promise<RankAnswer> {
  const { state, step } = training(overrides, cluster.size, cluster);
  const found: RankAnswer = {};
  for (let i = 1; i <= steps; i++) {
    await step();
    if (![1, 2, 5, 10].some((part) => i === (part * steps) / 10)) continue;
    found[`threads after ${i} steps`] = status('Threads');
    found[`resident MiB after ${i} steps`] = status('VmRSS') / 1024;
  }
  state.dispose();
  return found;
}

await answer<RankRequest>(import.meta.url, async ({ section, steps, overrides }) => {
  const cluster = await joinCluster(launchInfo(process.env)!, { agreement: { section }, acceptOpenPort: true });
  await useTensorFlow({ threads: 1, cluster });
  const sections = {
    buckets: () => buckets(cluster, steps),
    step: () => step(cluster, steps, overrides),
    steady: () => steady(cluster, steps, overrides),
  };
  const found = await sections[section]();
  await cluster.barrier('end', 60_000);
  return found;
});
