import type { Pixels } from '@dit-moe/data';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { collectFeatures, evaluate, type MetricName } from './index.js';

/** Pictures of two grey levels, by class. */
const images = (labels: readonly number[]): Pixels => ({
  data: Uint8Array.from(labels, (label, i) => 40 + 150 * label + (i % 7)),
  count: labels.length,
  ...{ height: 1, width: 1, channels: 1 },
});
/** Knows the classes, as Inception knows its own. */
const extract = (x: tf.Tensor4D) => {
  const grey = tf.slice(tf.reshape(x, [-1, 3]), [0, 0], [-1, 1]);
  const bright = tf.cast(tf.greater(grey, 100), 'float32');
  return {
    pool: tf.cast(grey, 'float32') as tf.Tensor2D,
    logits: tf.mul(20, tf.concat([bright, tf.sub(1, bright)], 1)) as tf.Tensor2D,
  };
};
const all: MetricName[] = ['fd', 'sfd', 'is', 'pr', 'kd', 'fd-interval'];
const collect = (labels: readonly number[]) => collectFeatures<'pool' | 'logits'>([images(labels)], extract);
const sorted = Array.from({ length: 10_000 }, (_, i) => (i < 5000 ? 0 : 1));
const mixed = sorted.map((_, i) => i % 2);

beforeAll(async () => void (await tf.setBackend('cpu')));

test('the Inception Score of samples sorted by class is too low in file order, and a warning says so', async () => {
  const found = evaluate(await collect(sorted), undefined, ['is'], { labels: sorted });
  expect(found.values.is!.inOrder.mean).toBeCloseTo(1, 6);
  expect(found.values.is!.shuffled.mean).toBeCloseTo(2, 2);
  expect(found.warnings).toEqual([expect.stringMatching(/^The samples are sorted by class: the Inception Score in file order/)]);
  const shuffled = evaluate(await collect(mixed), undefined, ['is'], { labels: mixed });
  expect(shuffled.values.is!.inOrder.mean).toBeCloseTo(2, 2);
  expect(shuffled.warnings).toEqual([]);
});

test('what cannot be computed says why, and is not warned of', async () => {
  const samples = await collect(mixed.slice(0, 50));
  const none = 'there is no reference.';
  const alone = evaluate(samples, undefined, all);
  expect(alone.skipped).toEqual({ fd: none, sfd: 'the network has no spatial features.', pr: none, kd: none, 'fd-interval': none });
  expect(alone.warnings).toEqual([]);
  const statistics = evaluate(samples, { pool: samples.moments.pool!.moments() }, all);
  expect(statistics.values.fd!.distance).toBeCloseTo(0, 6);
  expect(statistics.skipped).toMatchObject({ sfd: expect.stringMatching(/spatial/), pr: expect.stringMatching(/only statistics/) });
});
