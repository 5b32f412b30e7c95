/** The layer against an oracle that runs every expert on every token and masks, on three backends and in a compiled step. */
import '@tensorflow/tfjs-backend-wasm';
import { compile, swiglu, tensorFlowBackend } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { fill } from '../../../testing/fill.js';
import { balanceLoss, linearScorer, moe, type RouteOptions, route, tokenChoice } from './index.js';
import { sequenceBalanceLoss } from './losses/index.js';

const [tokens, width, numExperts, hidden, shared] = [11, 6, 5, 4, 3];
const topK = 2;
const config = { selector: tokenChoice(topK) };
type LayerWeights = Record<'gate' | 'experts.gateUp' | 'experts.down' | 'shared.gateUp' | 'shared.down', tf.Tensor>;
const shapes = [
  [width, numExperts],
  [numExperts, 2, width, hidden],
  [numExperts, hidden, width],
  [2, width, shared],
  [shared, width],
];
const tensors = () => [fill([tokens, width], 0), ...shapes.map((shape, i) => fill(shape, i + 1))];
const linearRoute = (x: tf.Tensor, gate: tf.Tensor, router: RouteOptions = config) => route(x, linearScorer(gate), router);

/** Loss of the layer's output and balance term, so that every weight has a gradient. */
function objective(layer: (x: tf.Tensor, w: LayerWeights) => { output: tf.Tensor; balance: tf.Tensor }) {
  return (...xs: tf.Tensor[]): tf.Scalar => {
    const [x, gate, gateUp, down, sharedGateUp, sharedDown] = xs as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
    const { output, balance } = layer(x, {
      gate,
      'experts.gateUp': gateUp,
      'experts.down': down,
      'shared.gateUp': sharedGateUp,
      'shared.down': sharedDown,
    });
    return tf.add(tf.sum(tf.mul(output, fill(output.shape, 42))), tf.mul(balance, 3)) as tf.Scalar;
  };
}
const ours = objective((x, w) => {
  const { output, losses } = moe(x, w, config);
  return { output, balance: losses.balance };
});
const oracle = objective((x, w) => {
  const routing = linearRoute(x, w.gate);
  const downs = tf.unstack(w['experts.down']);
  const outputs = tf.unstack(w['experts.gateUp']).map((g, e) => swiglu(x, g, downs[e]));
  let output = swiglu(x, w['shared.gateUp'], w['shared.down']);
  for (let j = 0; j < topK; j++) {
    const mask = tf.oneHot(tf.reshape(tf.slice(routing.indices, [0, j], [tokens, 1]), [tokens]), numExperts);
    outputs.forEach((y, e) => {
      const chosen = tf.cast(tf.slice(mask, [0, e], [tokens, 1]), 'float32');
      output = tf.add(output, tf.mul(tf.mul(y, chosen), tf.slice(routing.weights, [0, j], [tokens, 1])));
    });
  }
  return { output, balance: balanceLoss(routing) };
});

function evaluate(f: (...xs: tf.Tensor[]) => tf.Scalar) {
  return tf.tidy(() => {
    const { value, grads } = tf.valueAndGrads(f)(tensors());
    return { value: value.dataSync()[0], grads: grads.map((g) => g.dataSync() as Float32Array) };
  });
}

let expected: ReturnType<typeof evaluate>;
beforeAll(async () => {
  await useTensorFlow();
  await tf.setBackend('cpu');
  expected = evaluate(oracle);
});

test.each(['cpu', 'wasm', 'tensorflow'])('values and gradients equal the mask oracle on %s, without leaks', async (backend) => {
  await tf.setBackend(backend);
  const before = tf.memory().numTensors;
  const actual = evaluate(ours);
  expect(tf.memory().numTensors).toBe(before);
  expect(Math.abs(actual.value - expected.value)).toBeLessThan(2e-5);
  actual.grads.forEach((g, i) => {
    expect(g).toBeCloseTensor(expected.grads[i], 2e-5);
  });
});

describe('on the TensorFlow runtime', () => {
  beforeAll(async () => void (await tf.setBackend('tensorflow')));

  test('one recorded step serves every distribution of tokens over experts', async () => {
    await tf.setBackend('tensorflow');
    const step = compile((...xs: tf.Tensor[]) => {
      const { value, grads } = tf.valueAndGrads(ours)(xs);
      return [value, ...grads] as tf.Tensor[];
    });
    for (const [shift, salt] of [
      [0, 0],
      [6, 3],
      [-6, 5],
    ] as const) {
      // A large bias on one input channel sends every token to the same two experts; others get none.
      const inputs = tensors();
      inputs[0] = tf.add(fill([tokens, width], salt), tf.tensor1d([shift, 0, 0, 0, 0, 0]));
      const eager = tf.valueAndGrads(ours)(inputs);
      const compiled = step.runSync(...inputs);
      // The router's gradient is a difference of larger terms, the products of the experts' outputs, whose rounding shows in it.
      const ROUTER = 2;
      [eager.value, ...eager.grads].forEach((t, i) => {
        expect(compiled[i]).toBeCloseTensor(t, i === ROUTER ? 2e-6 : 1e-6);
      });
    }
    expect(step.traces).toBe(1);
    step.dispose();
  });

  test('bf16 is near float32', async () => {
    await tf.setBackend('tensorflow');
    // Also where the processor is slow at it.
    tensorFlowBackend()!.bf16Products = true;
    const low = evaluate(
      objective((x, w) => {
        const { output, losses } = moe(x, w, { ...config, precision: 'bf16' });
        return { output, balance: losses.balance };
      }),
    );
    // 8 bits per rounded operand in sums of about ten terms.
    low.grads.forEach((g, i) => {
      expect(g).toBeCloseTensor(expected.grads[i], 0.05);
    });
  });
});

test('gradients equal central differences', () => {
  void tf.setBackend('cpu');
  const at = (input: number, entry: number, delta: number) =>
    tf.tidy(() => {
      const xs = tensors();
      const values = xs[input].dataSync().slice() as Float32Array;
      values[entry] += delta;
      xs[input] = tf.tensor(values, xs[input].shape);
      return ours(...xs).dataSync()[0];
    });
  expected.grads.forEach((g, input) => {
    for (let entry = 0; entry < g.length; entry += 7)
      expect(Math.abs((at(input, entry, 1e-3) - at(input, entry, -1e-3)) / 2e-3 - g[entry])).toBeLessThan(2e-2);
  });
});

test('the balance loss is 1 for an even router and rises with imbalance', () => {
  void tf.setBackend('cpu');
  const x = tf.ones([8, 2]);
  const even = linearRoute(x, tf.zeros([2, 4]), { selector: tokenChoice(4) });
  expect(balanceLoss(even).dataSync()[0]).toBeCloseTo(1, 6);
  const skewed = linearRoute(
    x,
    tf.tensor2d([
      [9, 0, 0, 0],
      [0, 0, 0, 0],
    ]),
    { selector: tokenChoice(1) },
  );
  expect(balanceLoss(skewed).dataSync()[0]).toBeGreaterThan(3.9);
  expect(skewed.load.arraySync()).toEqual([8, 0, 0, 0]);
});

test('impossible top-k is refused', () => {
  expect(() => linearRoute(tf.ones([1, 2]), tf.ones([2, 3]), { selector: tokenChoice(4) })).toThrow(/tokenChoice: k.*1 to 3.*4/);
});

test('the balance loss per sequence is the mean of that of its parts, values and gradients', async () => {
  await tf.setBackend('cpu');
  const [sequences, length] = [3, 4];
  const x = fill([sequences * length, width], 7);
  const gate = fill([width, numExperts], 8);
  const joint = tf.valueAndGrad((g) => sequenceBalanceLoss(sequences)(linearRoute(x, g)))(gate);
  const parts = tf.valueAndGrad((g) => {
    const each = tf.split(x, sequences).map((part) => balanceLoss(linearRoute(part, g)));
    return tf.mean(tf.stack(each));
  })(gate);
  expect(joint.value.dataSync()[0]).toBeCloseTo(parts.value.dataSync()[0], 6);
  expect(joint.grad).toBeCloseTensor(parts.grad, 1e-6);
  expect(() => sequenceBalanceLoss(5)(linearRoute(x, gate))).toThrow(/sequences/);
});
