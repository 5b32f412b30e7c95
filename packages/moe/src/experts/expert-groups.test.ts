/** Groups of different experts against a loop over experts, values and gradients. */
import '@tensorflow/tfjs-backend-wasm';
import { gelu, MissingWeightError, swiglu } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { fill } from '../../../../testing/fill.js';
import { auto, capacity, dense, padded } from '../dispatch/index.js';
import { type ExpertGroup, linearScorer, type MoeOptions, moe, moeSpecs, type RoutingPlan, route, tokenChoice } from '../index.js';
import { expertChoice } from '../select/index.js';

const [tokens, width] = [10, 6];
// Experts 0-1: SwiGLU of width 4; 2: GELU of width 9; 3: zero; 4: copy; 5-6: constants; 7: a blended constant.
const groups: ExpertGroup[] = [
  { count: 2, hidden: 4 },
  { kind: 'gelu', count: 1, hidden: 9 },
  { kind: 'zero', count: 1 },
  { kind: 'copy', count: 1 },
  { kind: 'constant', count: 2 },
  { kind: 'constant', count: 1, blended: true },
];
const specs = moeSpecs({ width, experts: groups, shared: { hidden: 3, gated: true } });
const names = [
  ...[
    'gate',
    'experts.0.gateUp',
    'experts.0.down',
    'experts.1.up',
    'experts.1.down',
    'experts.4.value',
    'experts.5.value',
    'experts.5.mix',
  ],
  ...['shared.gateUp', 'shared.down', 'shared.gate'],
];
const inputs = () => [[tokens, width], ...names.map((name) => specs[name].shape)].map((shape, i) => fill(shape, i + 1));
const selector = tokenChoice(3);
const loss = (output: tf.Tensor) => tf.sum(tf.mul(output, fill(output.shape, 42))) as tf.Scalar;

const ours =
  (options: MoeOptions) =>
  (...[x, ...weights]: tf.Tensor[]): tf.Scalar =>
    loss(moe(x, Object.fromEntries(names.map((name, i) => [name, weights[i]])), { ...options, experts: groups }).output);
const oracle =
  (choose: (x: tf.Tensor, gate: tf.Tensor) => RoutingPlan) =>
  (...xs: tf.Tensor[]): tf.Scalar => {
    const mm = (a: tf.Tensor, b: tf.Tensor): tf.Tensor => tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D);
    const x = xs[0];
    const [g0, g1] = tf.unstack(xs[2]);
    const [d0, d1] = tf.unstack(xs[3]);
    const [c0, c1] = tf.unstack(xs[6]);
    const row = (v: tf.Tensor) => tf.mul(tf.ones([tokens, 1]), tf.expandDims(v, 0));
    const [a, b] = tf.split(tf.softmax(mm(x, xs[8])), 2, 1);
    const results = [
      swiglu(x, g0, d0),
      swiglu(x, g1, d1),
      mm(gelu(mm(x, tf.reshape(xs[4], [width, 9]))), tf.reshape(xs[5], [9, width])),
      tf.zerosLike(x),
      x,
      row(c0),
      row(c1),
      tf.add(tf.mul(x, a), tf.mul(tf.reshape(xs[7], [width]), b)),
    ];
    const plan = choose(x, xs[1]);
    const chosen = tf.cast(tf.oneHot(plan.indices, 8), 'float32');
    const gates = tf.sum(tf.mul(chosen, tf.expandDims(plan.weights, 2)), 1);
    let output: tf.Tensor = tf.mul(swiglu(x, xs[9], xs[10]), tf.sigmoid(mm(x, xs[11])));
    results.forEach((result, e) => {
      output = tf.add(output, tf.mul(result, tf.slice(gates, [0, e], [tokens, 1])));
    });
    return loss(output);
  };

beforeAll(async () => void (await useTensorFlow()));

test.each(['cpu', 'wasm', 'tensorflow'])('different experts behind one plan equal a loop on %s', async (backend) => {
  const evaluate = (f: (...xs: tf.Tensor[]) => tf.Scalar) =>
    tf.tidy(() => {
      const { value, grads } = tf.valueAndGrads(f)(inputs());
      return [value, ...grads].map((t) => t.dataSync() as Float32Array);
    });
  const dispatched = [padded, dense, capacity({ perExpert: tokens }), auto()].map((dispatcher) => ({ selector, dispatcher }));
  const variants: MoeOptions[] = [{ selector }, ...dispatched, { selector: expertChoice(2) }];
  for (const options of variants) {
    await tf.setBackend('cpu');
    const wanted = evaluate(oracle((x, gate) => route(x, linearScorer(gate), options)));
    await tf.setBackend(backend);
    const actual = evaluate(ours(options));
    actual.forEach((values, i) => {
      expect(values, `input ${i - 1}`).toBeCloseTensor(wanted[i]);
    });
  }
});

test('the specs name what the layer reads, and another number of experts or a missing weight is refused', async () => {
  await tf.setBackend('cpu');
  expect(Object.keys(specs).sort()).toEqual([...names].sort());
  const x = fill([tokens, width], 1);
  const experts: ExpertGroup[] = [{ kind: 'zero', count: 3 }];
  expect(() => moe(x, { gate: fill([width, 8], 2) }, { selector, experts })).toThrow(/8 experts together.*3/);
  expect(() => moe(x, {}, { selector, experts })).toThrow(MissingWeightError);
  expect(() => moe(x, { gate: fill([width, 8], 2) }, { selector })).toThrow(/weight experts.down is missing/);
  expect(() => moeSpecs({ width, experts: { count: 2, hidden: 0 } })).toThrow(/experts.hidden: expected a positive integer/);
});
