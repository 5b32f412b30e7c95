/** The layer with matrices in int8: near the layer in float32, and on the TensorFlow runtime what the portable reference gives. */
import { compile, int8Refusal, int8Tensor, quantizeMatrix } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { fill } from '../../../../testing/fill.js';
import { capacity, dense, padded, slices } from '../dispatch/index.js';
import { lowRankModulation, type MoeOptions, moe, tokenChoice } from '../index.js';
import { expertChoice } from '../select/index.js';

const [tokens, width, numExperts, hidden, shared] = [12, 16, 4, 8, 12];
const matrices = {
  swiglu: { 'experts.gateUp': [numExperts, 2, width, hidden], 'experts.down': [numExperts, hidden, width] },
  gelu: { 'experts.up': [numExperts, width, hidden], 'experts.down': [numExperts, hidden, width] },
  shared: { 'shared.gateUp': [2, width, shared], 'shared.down': [shared, width] },
};
const biases = { 'experts.upBias': [numExperts, hidden], 'experts.downBias': [numExperts, width] };

/** Weights of a layer, its matrices in float32 or in int8. */
function layer(kind: 'swiglu' | 'gelu', inInt8: boolean): Record<string, tf.Tensor> {
  const weights: Record<string, tf.Tensor> = { gate: fill([width, numExperts], 1) };
  Object.entries({ ...matrices[kind], ...matrices.shared }).forEach(([name, shape], i) => {
    const value = fill(shape, i + 2);
    if (!inInt8) {
      weights[name] = value;
      return;
    }
    const { values, scale } = quantizeMatrix(value.dataSync() as Float32Array, shape);
    weights[name] = int8Tensor(values, shape);
    weights[`${name}.scale`] = tf.tensor(scale, [...shape.slice(0, -2), shape.at(-1)!]);
  });
  if (kind === 'gelu') Object.entries(biases).forEach(([name, shape], i) => void (weights[name] = fill(shape, i + 9)));
  return weights;
}

const selector = tokenChoice(2);
const variants: Record<string, { kind?: 'gelu' | 'swiglu'; options: () => MoeOptions }> = {
  slices: { options: () => ({ selector, dispatcher: slices }) },
  padded: { options: () => ({ selector, dispatcher: padded }) },
  dense: { options: () => ({ selector, dispatcher: dense }) },
  'capacity that drops': { options: () => ({ selector, dispatcher: capacity({ factor: 0.8 }) }) },
  'expert choice': { options: () => ({ selector: expertChoice(2, { sequences: 2 }) }) },
  'GELU with biases': { kind: 'gelu', options: () => ({ selector }) },
  modulated: {
    options: () => ({
      selector,
      modulation: lowRankModulation(fill([2, 5], 20), fill([5, numExperts * 3], 21), fill([numExperts, 3, 3 * width], 22)),
    }),
  },
};

let refusal: string | undefined;
beforeAll(async () => {
  await useTensorFlow();
  refusal = int8Refusal();
});

test.each(Object.entries(variants))('%s', async (_, { kind: given, options }) => {
  const kind = given ?? 'swiglu';
  const output = (inInt8: boolean): tf.Tensor => moe(fill([tokens, width], 0), layer(kind, inInt8), options()).output;
  await tf.setBackend('cpu');
  const [exact, reference] = [output(false).dataSync(), output(true).dataSync()] as Float32Array[];
  const largest = Math.max(...exact.map(Math.abs));
  expect(reference).toBeCloseTensor(exact, 0.05 * largest);
  expect(reference).not.toBeCloseTensor(exact, 1e-4 * largest);
  await tf.setBackend('tensorflow');
  if (refusal !== undefined) return;
  // A number on the edge between two integers may fall to either side.
  expect(output(true).dataSync()).toBeCloseTensor(reference, 0.005 * largest);
  const weights = layer(kind, true);
  const x = fill([tokens, width], 0);
  const step = compile((x: tf.Tensor) => moe(x, weights, options()).output);
  expect(step.runSync(x).dataSync()).toBeCloseTensor(reference, 0.005 * largest);
  step.dispose();
});

test('a gradient is refused', async () => {
  await tf.setBackend('cpu');
  const weights = layer('swiglu', true);
  const loss = (x: tf.Tensor) => tf.sum(moe(x, weights, { selector }).output);
  expect(() => tf.grad(loss)(fill([tokens, width], 0))).toThrow(/int8.*inference.*gradient/);
  await tf.setBackend('tensorflow');
});

test('one scale without the other, or of another shape, is refused', async () => {
  await tf.setBackend('cpu');
  const apply = (scales: Record<string, tf.Tensor | undefined>) => () =>
    moe(fill([tokens, width], 0), { ...layer('swiglu', true), ...scales } as Record<string, tf.Tensor>, { selector });
  for (const scales of [
    { 'experts.down.scale': undefined },
    { 'experts.gateUp.scale': undefined },
    { 'experts.down.scale': fill([numExperts, hidden], 1) },
  ])
    expect(apply(scales)).toThrow(
      expect.objectContaining({ code: 'E_SHAPE', message: expect.stringContaining('scales [4,2,8] and [4,16]') }),
    );
  expect(apply({ 'shared.down.scale': undefined })).toThrow(/scales of both matrices/);
  await tf.setBackend('tensorflow');
});
