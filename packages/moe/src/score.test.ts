/** Scorers and score functions: against formulas on the host, gradients by central differences, and how they behave. */
import '@tensorflow/tfjs-backend-wasm';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { fill } from '../../../testing/fill.js';
import { cosineScorer, linearScorer, mlpScorer, moe, route, type ScoreFunction, type Scorer, tokenChoice } from './index.js';
import { replay } from './select/index.js';
import { expectGradients } from './testing/gradients.js';

const [tokens, inputs, numExperts, hidden] = [6, 5, 4, 3];
type Matrix = number[][];
const rows = (x: tf.Tensor) => x.arraySync() as Matrix;
const product = (a: Matrix, b: Matrix): Matrix => a.map((row) => b[0].map((_, j) => row.reduce((sum, v, i) => sum + v * b[i][j], 0)));
const norm = (v: readonly number[]) => Math.hypot(...v);

interface Case {
  shapes: number[][];
  scorer(weights: tf.Tensor[]): Scorer;
  formula(x: Matrix, weights: Matrix[]): Matrix;
}
const plus = (a: Matrix, bias: number[]): Matrix => a.map((row) => row.map((v, j) => v + bias[j]));
const cases: Record<string, Case> = {
  linear: {
    shapes: [
      [inputs, numExperts],
      [1, numExperts],
    ],
    scorer: ([weight, bias]) => linearScorer(weight, tf.reshape(bias, [numExperts])),
    formula: (x, [weight, bias]) => plus(product(x, weight), bias[0]),
  },
  cosine: {
    shapes: [
      [inputs, numExperts],
      [1, 1],
    ],
    // A learnable temperature; positive for the value that the tests give.
    scorer: ([prototypes, temperature]) => cosineScorer(prototypes, tf.add(tf.reshape(temperature, []), 2)),
    formula: (x, [prototypes, temperature]) =>
      product(x, prototypes).map((row, n) =>
        row.map((dot, e) => dot / norm(x[n]) / norm(prototypes.map((p) => p[e])) / (temperature[0][0] + 2)),
      ),
  },
  mlp: {
    shapes: [
      [inputs, hidden],
      [1, hidden],
      [hidden, numExperts],
      [1, numExperts],
    ],
    scorer: ([first, firstBias, output, outputBias]) =>
      mlpScorer({
        hidden: first,
        hiddenBias: tf.reshape(firstBias, [hidden]),
        output: output,
        outputBias: tf.reshape(outputBias, [numExperts]),
      }),
    formula: (x, [first, firstBias, output, outputBias]) =>
      plus(
        product(
          plus(product(x, first), firstBias[0]).map((row) => row.map((v) => v / (1 + Math.exp(-v)))),
          output,
        ),
        outputBias[0],
      ),
  },
};

beforeAll(async () => void (await useTensorFlow()));

describe.each(Object.keys(cases))('%s', (name) => {
  const { shapes, scorer, formula } = cases[name];
  const tensors = () => [[tokens, inputs], ...shapes].map((shape, i) => fill(shape, i + 1));

  test.each(['cpu', 'wasm', 'tensorflow'])('equals its formula on %s', async (backend) => {
    await tf.setBackend(backend);
    tf.tidy(() => {
      const [x, ...weights] = tensors();
      expect(scorer(weights)(x)).toBeCloseTensor(tf.tensor2d(formula(rows(x), weights.map(rows))));
    });
  });

  test.each(['cpu', 'tensorflow'])('its gradients equal central differences on %s', async (backend) => {
    await tf.setBackend(backend);
    expectGradients((x, ...weights) => scorer(weights)(x), tensors());
  });
});

test('cosine looks at directions only, and a zero token has no preference and no NaN', async () => {
  await tf.setBackend('cpu');
  tf.tidy(() => {
    const [x, prototypes] = [fill([tokens, inputs], 1), fill([inputs, numExperts], 2)];
    expect(cosineScorer(tf.mul(prototypes, 7))(tf.mul(x, 100))).toBeCloseTensor(cosineScorer(prototypes)(x), 1e-5);
    // Largest at the prototype itself: one over the temperature.
    const own = rows(cosineScorer(prototypes, 0.5)(tf.transpose(prototypes)));
    own.forEach((row, e) => {
      expect(row[e]).toBeCloseTo(2, 5);
      expect(row.indexOf(Math.max(...row))).toBe(e);
    });
    const { value, grad } = tf.valueAndGrad((input) => tf.sum(cosineScorer(prototypes)(input)))(tf.zeros([1, inputs]));
    expect(value.dataSync()[0]).toBe(0);
    expect(grad.dataSync().every(Number.isFinite)).toBe(true);
  });
});

test('a router on the timestep alone gets the gradient of all its tokens, and the tokens none through it', async () => {
  for (const backend of ['cpu', 'tensorflow']) {
    await tf.setBackend(backend);
    const [sequences, length, width] = [2, 3, 6];
    const experts = { 'experts.gateUp': fill([numExperts, 2, width, 2], 3), 'experts.down': fill([numExperts, 2, width], 4) };
    const layer = (x: tf.Tensor, time: tf.Tensor, gate: tf.Tensor) =>
      moe(x, { gate, ...experts }, { selector: tokenChoice(2), routerInput: time });
    const [x, time, gate] = [fill([sequences * length, width], 1), fill([sequences, inputs], 2), fill([inputs, numExperts], 5)];
    expectGradients((a, b, c) => layer(a, b, c).output, [x, time, gate]);
    tf.tidy(() => {
      const { indices, weights } = layer(x, time, gate).routing;
      for (const table of [rows(indices), rows(weights)])
        table.forEach((row, n) => {
          expect(row).toEqual(table[n - (n % length)]);
        });
      const scores = tf.grad((input) => tf.sum(tf.mul(layer(input, time, gate).routing.scores, fill([6, numExperts], 9))));
      expect(() => scores(x)).toThrow(/gradient/);
    });
  }
});

test('identity scores are the logits, sigmoid scores do not compete, a function of one is used as it is', async () => {
  await tf.setBackend('cpu');
  tf.tidy(() => {
    const [x, gate] = [fill([tokens, inputs], 1), fill([inputs, numExperts], 2)];
    const plan = (scoreFunction: ScoreFunction, w = gate) => route(x, linearScorer(w), { selector: tokenChoice(2), scoreFunction });
    const identity = plan('identity');
    expect(identity.scores).toBeCloseTensor(identity.logits, 1e-9);
    // Weights may be negative and are those of the largest logits.
    const logits = rows(identity.logits);
    expect(rows(identity.indices)).toEqual(
      logits.map((row) =>
        row
          .map((_, e) => e)
          .sort((a, b) => row[b] - row[a])
          .slice(0, 2),
      ),
    );
    expect(rows(identity.weights)).toEqual(logits.map((row) => [...row].sort((a, b) => b - a).slice(0, 2)));
    // Raising one logit leaves the other sigmoid scores alone.
    const raised = tf.mul(gate, tf.tensor2d([[3, 1, 1, 1]]));
    expect(rows(plan('sigmoid', raised).scores).map((row) => row.slice(1))).toEqual(
      rows(plan('sigmoid').scores).map((row) => row.slice(1)),
    );
    expect(plan((z) => tf.mul(z, 2)).scores).toBeCloseTensor(tf.mul(identity.logits, 2), 1e-9);
    expect(() => plan('tanh' as never)).toThrow(/'softmax', 'sigmoid', 'identity'/);
  });
  const inputsOf = [fill([tokens, inputs], 1), fill([inputs, numExperts], 2)] as const;
  for (const scoreFunction of ['identity', 'sigmoid', 'softmax'] as const) {
    const config = { scoreFunction, normalizeTopK: scoreFunction !== 'identity', weightScale: 2.5 };
    // Replayed, so that a difference does not meet a change of the choice.
    const { indices } = route(inputsOf[0], linearScorer(inputsOf[1]), { ...config, selector: tokenChoice(2) });
    expectGradients((x, gate) => route(x, linearScorer(gate), { ...config, selector: replay(indices) }).weights, inputsOf);
  }
});
