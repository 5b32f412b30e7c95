/** Losses of the router: closed forms, central differences, accumulation and loss scaling. */
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { fill } from '../../../../testing/fill.js';
import { balanceLoss, cosineScorer, type LossTerm, linearScorer, route, tokenChoice } from '../index.js';
import { expertChoice } from '../select/index.js';
import { expectGradients } from '../testing/gradients.js';
import {
  globalBalanceLoss,
  importanceLoss,
  loadLoss,
  routerSimilarityLoss,
  routerZLoss,
  routingContrastiveLoss,
  sequenceBalanceLoss,
} from './index.js';

const [tokens, width, numExperts] = [12, 5, 4];
const config = { selector: tokenChoice(2) };
const noise = () => tf.mul(fill([tokens, numExperts], 5), 0.3);
const terms: Record<string, () => LossTerm> = {
  balance: () => balanceLoss,
  'global balance': () => globalBalanceLoss(tf.tensor1d([3, 0, 5, 1])),
  'sequence balance': () => sequenceBalanceLoss(3),
  'router z': () => routerZLoss,
  importance: () => importanceLoss,
  load: () => loadLoss({ topK: 2, std: 0.3, noise: noise() }),
  similarity: () => routerSimilarityLoss,
};
const value = (term: LossTerm, x: tf.Tensor, gate: tf.Tensor, noisy: boolean): tf.Scalar =>
  term(route(x, linearScorer(gate), { ...config, ...(noisy && { noise: { gate: noise() } }) }));

beforeAll(async () => void (await useTensorFlow()));

describe.each(Object.keys(terms))('%s', (name) => {
  test('its gradient equals central differences, on the cpu backend and the runtime', async () => {
    for (const backend of ['cpu', 'tensorflow']) {
      await tf.setBackend(backend);
      tf.tidy(() => {
        const [x, gate] = [fill([tokens, width], 1), fill([width, numExperts], 2)];
        const at = (g: tf.Tensor) => value(terms[name](), x, g, name === 'load');
        const grad = tf.grad(at)(gate).dataSync();
        const numbers = gate.dataSync().slice();
        for (let i = 0; i < numbers.length; i += 3) {
          const moved = (delta: number) => {
            const copy = numbers.slice();
            copy[i] += delta;
            return at(tf.tensor(copy, gate.shape)).dataSync()[0];
          };
          // Float32 values near 1 over steps of 2e-3: rounding alone is up to 1e-4.
          expect(Math.abs((moved(1e-3) - moved(-1e-3)) / 2e-3 - grad[i])).toBeLessThan(1e-3);
        }
      });
    }
  });

  test('loss scaling multiplies its gradient exactly', async () => {
    await tf.setBackend('cpu');
    tf.tidy(() => {
      const [x, gate] = [fill([tokens, width], 1), fill([width, numExperts], 2)];
      const scaled = (factor: number) =>
        tf
          .grad((g) => tf.mul(value(terms[name](), x, g, name === 'load'), factor))(gate)
          .dataSync();
      const [one, many] = [scaled(1), scaled(65536)];
      one.forEach((g, i) => {
        expect(many[i]).toBe(g * 65536);
      });
    });
  });
});

test('with the load of the others, the mean over micro-batches is the loss of the whole batch', () => {
  void tf.setBackend('cpu');
  tf.tidy(() => {
    const [x, gate] = [fill([tokens, width], 1), fill([width, numExperts], 2)];
    const plan = (part: tf.Tensor, g: tf.Tensor) => route(part, linearScorer(g), config);
    const whole = tf.valueAndGrad((g) => balanceLoss(plan(x, g)))(gate);
    const total = plan(x, gate).load;
    const parts = tf.split(x, 3).map((part) => {
      const others = tf.sub(total, plan(part, gate).load);
      return tf.valueAndGrad((g) => globalBalanceLoss(others)(plan(part, g)))(gate);
    });
    const mean = (pick: (p: (typeof parts)[number]) => tf.Tensor) => tf.mean(tf.stack(parts.map(pick)), 0);
    expect(mean((p) => p.value).dataSync()[0]).toBeCloseTo(whole.value.dataSync()[0], 6);
    expect(
      tf
        .max(
          tf.abs(
            tf.sub(
              mean((p) => p.grad),
              whole.grad,
            ),
          ),
        )
        .dataSync()[0],
    ).toBeLessThan(1e-6);
  });
});

test('closed forms for an even router, and for one that is certain', () => {
  void tf.setBackend('cpu');
  tf.tidy(() => {
    const of = (term: LossTerm, gate: tf.Tensor) =>
      term(route(tf.ones([tokens, 2]), linearScorer(gate), { selector: tokenChoice(1) })).dataSync()[0];
    const [even, certain] = [
      tf.zeros([2, numExperts]),
      tf.tensor2d([
        [20, 0, 0, 0],
        [0, 0, 0, 0],
      ]),
    ];
    expect(of(routerZLoss, even)).toBeCloseTo(Math.log(numExperts) ** 2, 5);
    expect(of(routerZLoss, certain)).toBeCloseTo(400, 2);
    expect(of(importanceLoss, even)).toBeCloseTo(0, 6);
    // One expert has everything: variance (E - 1) / E^2 over mean 1 / E^2.
    expect(of(importanceLoss, certain)).toBeCloseTo(numExperts - 1, 4);
    expect(of(balanceLoss, certain)).toBeCloseTo(numExperts, 4);
    expect(of(routerSimilarityLoss, certain)).toBeCloseTo(numExperts, 4);
    const everywhere = route(tf.ones([tokens, 2]), linearScorer(even), { selector: expertChoice(numExperts) });
    expect(routerSimilarityLoss(everywhere).dataSync()[0]).toBeCloseTo(1, 5);
  });
});

test('contrastive: as a loop over experts on the host, gradients reach tokens and prototypes, and a single cluster costs nothing', async () => {
  for (const backend of ['cpu', 'tensorflow']) {
    await tf.setBackend(backend);
    tf.tidy(() => {
      const [x, prototypes] = [fill([tokens, width], 1), fill([width, numExperts], 2)];
      const plan = route(x, cosineScorer(prototypes, 1), { selector: tokenChoice(2) });
      const [rows, columns] = [x.arraySync() as number[][], tf.transpose(prototypes).arraySync() as number[][]];
      const first = (plan.indices.arraySync() as number[][]).map(([best]) => best);
      const used = [0, 1, 2, 3].filter((e) => first.includes(e));
      const unitOf = (v: number[]) => v.map((a) => a / Math.hypot(...v));
      const means = used.map((e) => {
        const own = rows.filter((_, n) => first[n] === e);
        return unitOf(own[0].map((_, i) => own.reduce((sum, row) => sum + row[i], 0) / own.length));
      });
      const terms = used.map((e, i) => {
        const logits = means.map((mean) => unitOf(columns[e]).reduce((sum, p, j) => sum + p * mean[j], 0) / 0.1);
        return Math.log(logits.reduce((sum, l) => sum + Math.exp(l), 0)) - logits[i];
      });
      expect(used.length).toBeGreaterThan(2);
      const wanted = terms.reduce((a, b) => a + b) / terms.length;
      expect(routingContrastiveLoss(x, prototypes)(plan).dataSync()[0]).toBeCloseTo(wanted, 4);
      expectGradients((input, p) => routingContrastiveLoss(input, p, 1)(plan), [x, prototypes]);
      const alone = { ...plan, indices: tf.zerosLike(plan.indices) };
      expect(routingContrastiveLoss(x, prototypes)(alone).dataSync()[0]).toBeCloseTo(0, 5);
    });
  }
});
