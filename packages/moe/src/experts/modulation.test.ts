/** Low-rank modulation of experts: against loops on the host, gradients by central differences through the layer. */
import '@tensorflow/tfjs-backend-wasm';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { fill } from '../../../../testing/fill.js';
import { lowRankModulation, moe, tokenChoice } from '../index.js';
import { expectGradients } from '../testing/gradients.js';

const [batch, length, width, numExperts, rank, channels, hidden] = [2, 3, 4, 3, 2, 5, 4];
const tensors = () => [fill([batch, channels], 1), fill([channels, numExperts * rank], 2), fill([numExperts, rank, 3 * width], 3)] as const;
const layer = () => ({
  gate: fill([width, numExperts], 5),
  'experts.gateUp': fill([numExperts, 2, width, hidden], 6),
  'experts.down': fill([numExperts, hidden, width], 7),
});
const selector = tokenChoice(2);

beforeAll(async () => void (await useTensorFlow()));

test.each(['cpu', 'wasm', 'tensorflow'])('shift, scale and gate are (c A) B of each expert on %s', async (backend) => {
  await tf.setBackend(backend);
  tf.tidy(() => {
    const [condition, first, second] = tensors();
    const [c, a, b] = [condition.arraySync() as number[][], first.arraySync() as number[][], second.arraySync() as number[][][]];
    const wanted = c.map((row) =>
      b.map((ofExpert, e) =>
        Array.from({ length: 3 * width }, (_, j) =>
          ofExpert.reduce((sum, bRow, r) => sum + bRow[j] * row.reduce((s, v, i) => s + v * a[i][e * rank + r], 0), 0),
        ),
      ),
    );
    const parts = tf.split(tf.tensor3d(wanted), 3, 2);
    const { shift, scale, gate } = lowRankModulation(condition, first, second);
    expect(shift).toBeCloseTensor(parts[0]);
    expect(scale).toBeCloseTensor(parts[1]);
    expect(gate).toBeCloseTensor(tf.add(parts[2], 1));
  });
});

test.each(['cpu', 'tensorflow'])('gradients reach the condition and both factors through the experts on %s', async (backend) => {
  await tf.setBackend(backend);
  const x = fill([batch * length, width], 4);
  expectGradients(
    (input, ...factors) => {
      const [condition, first, second] = factors as [tf.Tensor, tf.Tensor, tf.Tensor];
      return moe(input, layer(), { selector, modulation: lowRankModulation(condition, first, second) }).output;
    },
    [x, ...tensors()],
  );
});

test('zero weights change nothing; samples are modulated apart; one row for each token is allowed', async () => {
  await tf.setBackend('cpu');
  tf.tidy(() => {
    const [condition, first, second] = tensors();
    const x = fill([batch * length, width], 4);
    const output = (modulation?: ReturnType<typeof lowRankModulation>) =>
      moe(x, layer(), { selector, ...(modulation && { modulation }) }).output;
    expect(output(lowRankModulation(condition, first, tf.zerosLike(second)))).toBeCloseTensor(output());

    const modulated = output(lowRankModulation(condition, first, second));
    const other = tf.concat([tf.slice(condition, [0, 0], [1, channels]), fill([1, channels], 8)], 0);
    const [kept, changed] = tf.split(tf.sub(output(lowRankModulation(other, first, second)), modulated), batch);
    expect(tf.max(tf.abs(kept)).dataSync()[0]).toBe(0);
    expect(tf.min(tf.max(tf.abs(changed), 1)).dataSync()[0]).toBeGreaterThan(1e-3);

    const perToken = tf.reshape(tf.tile(tf.expandDims(condition, 1), [1, length, 1]), [batch * length, channels]);
    expect(output(lowRankModulation(perToken, first, second))).toBeCloseTensor(modulated);
    expect(() => lowRankModulation(condition, tf.zeros([channels, 5]), second)).toThrow(/first \[C, 3 \* 2\]/);
    expect(() => output(lowRankModulation(fill([4, channels], 1), first, second))).toThrow(/B a divisor of 6/);
  });
});
