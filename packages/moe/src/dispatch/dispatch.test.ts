/**
 * Every dispatcher, kind of expert and kind of plan against a loop over experts that computes every token and masks: values and every
 * gradient, on three backends and in a compiled step.
 */
import '@tensorflow/tfjs-backend-wasm';
import { compile, gelu, swiglu } from '@dit-moe/tensor-ops';
import { differingNodes, useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { fill } from '../../../../testing/fill.js';
import { linearScorer, type RoutingPlan, route, type Selector, tokenChoice } from '../index.js';
import { expertChoice, forced, globalTopK, threshold } from '../select/index.js';
import { roundedSlices } from './grouping.js';
import { auto, capacity, type Dispatcher, dense, type FeedForwardExperts, padded, routedExperts, slices } from './index.js';

const [tokens, width, numExperts, hidden, batch] = [12, 6, 5, 4, 3];

interface Kind {
  shapes: number[][];
  experts(weights: tf.Tensor[]): FeedForwardExperts;
  /** One expert on all tokens. */
  one(x: tf.Tensor, weights: tf.Tensor[]): tf.Tensor;
  modulated?: boolean;
}
const plain = (x: tf.Tensor, w: tf.Tensor): tf.Tensor => tf.matMul(x as tf.Tensor2D, w as tf.Tensor2D);
const shapes = (...parts: number[]) => [
  [numExperts, ...parts, width, hidden],
  [numExperts, hidden, width],
  [numExperts, ...parts, hidden],
  [numExperts, width],
];
const kinds: Record<string, Kind> = {
  swiglu: {
    shapes: shapes(2).slice(0, 2),
    experts: ([gateUp, down]) => ({ gateUp: gateUp, down: down }),
    one: (x, [gateUp, down]) => swiglu(x, gateUp, down),
  },
  'swiglu with biases': {
    shapes: shapes(2),
    experts: ([gateUp, down, gateUpBias, downBias]) => ({ gateUp: gateUp, down: down, gateUpBias: gateUpBias, downBias: downBias }),
    one(x, [gateUp, down, gateUpBias, downBias]) {
      const biases = tf.unstack(gateUpBias);
      const [g, u] = tf.unstack(gateUp).map((w, i) => tf.add(plain(x, w), biases[i]));
      return tf.add(plain(tf.mul(tf.mul(g, tf.sigmoid(g)), u), down), downBias);
    },
  },
  gelu: {
    shapes: shapes().slice(0, 2),
    experts: ([up, down]) => ({ kind: 'gelu', up: up, down: down }),
    one: (x, [up, down]) => plain(gelu(plain(x, up)), down),
  },
  'gelu with biases, modulated': {
    shapes: shapes(),
    experts: ([up, down, upBias, downBias]) => ({ kind: 'gelu', up: up, down: down, upBias: upBias, downBias: downBias }),
    one: (x, [up, down, upBias, downBias]) => tf.add(plain(gelu(tf.add(plain(x, up), upBias)), down), downBias),
    modulated: true,
  },
};
const modulationShape = [batch, numExperts, width];

const assignment = () => tf.tensor1d([4, 4, 4, 4, ...new Array<number>(tokens - 4).fill(-1)], 'int32');
const selectors: Record<string, () => Selector> = {
  'token choice': () => tokenChoice(2),
  'all experts': () => tokenChoice(numExperts),
  'expert choice per sample': () => expertChoice(2, { sequences: batch }),
  'global top-K': () => globalTopK(2),
  threshold: () => threshold(tf.tensor1d([0.1, 0.2, 0.3, 0.9, 0.05])),
  'nothing chosen': () => threshold(tf.tensor1d([2])),
  forced: () => forced(assignment(), tokenChoice(2), { reserved: 1 }),
};
const dispatchers: Record<string, Dispatcher> = {
  slices,
  'slices in multiples': (assignments) => roundedSlices(assignments, 4),
  padded,
  dense,
  auto: auto(),
  'capacity for all': capacity({ perExpert: 100 }),
  'capacity by score': capacity({ perExpert: 3 }),
  'capacity by position': capacity({ perExpert: 3, dropBy: 'position' }),
};

/** Indices with the assignments that find no room emptied, by a loop on the host. */
function roomy(plan: RoutingPlan, name: string): tf.Tensor {
  if (!/capacity by/.test(name)) return plan.indices;
  const indices = plan.indices.arraySync() as number[][];
  const weights = plan.weights.arraySync() as number[][];
  for (let e = 0; e < numExperts; e++) {
    const slots = indices.flatMap((row, n) => row.flatMap((chosen, j) => (chosen === e ? [{ n, j }] : [])));
    if (/score/.test(name)) slots.sort((a, b) => weights[b.n][b.j] - weights[a.n][a.j]);
    for (const { n, j } of slots.slice(3)) indices[n][j] = numExperts;
  }
  return tf.tensor2d(indices, undefined, 'int32');
}

type Case = { kind: Kind; select: Selector; dispatch: string };
const inputs = ({ kind }: Case) =>
  [
    [tokens, width],
    [width, numExperts],
    ...kind.shapes,
    ...(kind.modulated ? [modulationShape, modulationShape, modulationShape] : []),
  ].map((shape, i) => fill(shape, i + 1));
const plan = (x: tf.Tensor, gate: tf.Tensor, selector: Selector) => route(x, linearScorer(gate), { selector });
const loss = (output: tf.Tensor) => tf.sum(tf.mul(output, fill(output.shape, 42))) as tf.Scalar;

const ours =
  ({ kind, select, dispatch }: Case) =>
  (...xs: tf.Tensor[]): tf.Scalar => {
    const weights = xs.slice(2, 2 + kind.shapes.length);
    const [shift, scale, gate] = xs.slice(2 + kind.shapes.length) as [tf.Tensor, tf.Tensor, tf.Tensor];
    const options = { dispatcher: dispatchers[dispatch], ...(kind.modulated && { modulation: { shift, scale, gate } }) };
    return loss(routedExperts(xs[0], plan(xs[0], xs[1], select), kind.experts(weights), options).output);
  };
const oracle =
  ({ kind, select, dispatch }: Case) =>
  (...xs: tf.Tensor[]): tf.Scalar => {
    const [x, gateWeight] = xs as [tf.Tensor, tf.Tensor];
    const routing = plan(x, gateWeight, select);
    const chosen = tf.cast(tf.oneHot(roomy(routing, dispatch), numExperts), 'float32'); // [N, m, E]
    const gates = tf.sum(tf.mul(chosen, tf.expandDims(routing.weights, 2)), 1); // [N, E]
    const ofToken = (table: tf.Tensor, e: number) => {
      const row = tf.reshape(tf.slice(table, [0, e, 0], [batch, 1, width]), [batch, 1, width]);
      return tf.reshape(tf.tile(row, [1, tokens / batch, 1]), [tokens, width]);
    };
    const modulation = xs.slice(2 + kind.shapes.length);
    let output: tf.Tensor = tf.zeros([tokens, width]);
    for (let e = 0; e < numExperts; e++) {
      const own = xs.slice(2, 2 + kind.shapes.length).map((w) => tf.unstack(w)[e]);
      const [shift, scale, gate] = modulation.map((table) => ofToken(table, e));
      const input = kind.modulated ? tf.add(tf.mul(x, tf.add(scale, 1)), shift) : x;
      const result = kind.one(input, own);
      const column = tf.slice(gates, [0, e], [tokens, 1]);
      output = tf.add(output, tf.mul(kind.modulated ? tf.mul(result, gate) : result, column));
    }
    return loss(output);
  };

function evaluate(f: (...xs: tf.Tensor[]) => tf.Scalar, c: Case) {
  return tf.tidy(() => {
    const { value, grads } = tf.valueAndGrads(f)(inputs(c));
    return [value, ...grads].map((t) => t.dataSync() as Float32Array);
  });
}
function expectClose(actual: Float32Array[], wanted: Float32Array[], tolerance = 1e-6) {
  actual.forEach((values, i) => {
    // Sums of up to a few dozen float32 terms of that scale.
    expect(values, `input ${i - 1}`).toBeCloseTensor(wanted[i], tolerance);
  });
}

beforeAll(async () => {
  await useTensorFlow();
});

const grid = Object.keys(dispatchers).flatMap((dispatch) => Object.keys(selectors).map((select) => [dispatch, select] as const));

describe.each(Object.keys(kinds))('%s', (kindName) => {
  test.each(grid)('%s, %s', async (dispatch, select) => {
    const kind = kinds[kindName];
    await tf.setBackend('cpu');
    const wanted = tf.tidy(() =>
      evaluate(oracle({ kind, select: selectors[select](), dispatch }), { kind, select: selectors[select](), dispatch }),
    );
    for (const backend of ['cpu', 'wasm', 'tensorflow']) {
      await tf.setBackend(backend);
      const before = tf.memory().numTensors;
      const actual = tf.tidy(() => {
        const c = { kind, select: selectors[select](), dispatch };
        return evaluate(ours(c), c);
      });
      expect(tf.memory().numTensors).toBe(before);
      expectClose(actual, wanted);
    }
  });
});

describe.each(Object.keys(kinds))('%s: no size that depends on data becomes a constant of a recorded step', (kindName) => {
  test.each(grid)('%s, %s', async (dispatch, select) => {
    await tf.setBackend('tensorflow');
    tf.tidy(() => {
      const c = { kind: kinds[kindName], select: selectors[select](), dispatch };
      const step = (...xs: tf.Tensor[]) => {
        const { value, grads } = tf.valueAndGrads(ours(c))(xs);
        return [value, ...grads];
      };
      expect(differingNodes(step, inputs(c))).toEqual([]);
    });
  });
});

test.each(grid)('one recorded step serves every load: %s, %s', async (dispatch, select) => {
  await tf.setBackend('tensorflow');
  const kind = kinds['gelu with biases, modulated'];
  tf.tidy(() => {
    const c = { kind, select: selectors[select](), dispatch };
    const step = compile((...xs: tf.Tensor[]) => {
      const { value, grads } = tf.valueAndGrads(ours(c))(xs);
      return [value, ...grads] as tf.Tensor[];
    });
    // Large inputs send all tokens to the same experts; their float32 sums differ by more when TensorFlow rewrites the graph.
    for (const shift of [0, 8, -8]) {
      const xs = inputs(c);
      xs[0] = tf.add(xs[0], tf.tensor1d([shift, 0, 0, 0, 0, 0]));
      const eager = tf.valueAndGrads(ours(c))(xs);
      const values = (ts: tf.Tensor[]) => ts.map((t) => t.dataSync() as Float32Array);
      expectClose(values(step.runSync(...xs)), values([eager.value, ...eager.grads]), 5e-6);
    }
    expect(step.traces).toBe(1);
    step.dispose();
  });
});
