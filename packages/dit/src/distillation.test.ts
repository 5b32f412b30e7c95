import { valueAndGrads } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { matchingBlock } from './distillation.js';
import { distillationLoss, dit, hiddenDistance } from './index.js';
import { randomWeights, someInputs, tiny, tinyDense } from './testing/models.js';

beforeAll(async () => void (await useTensorFlow()));

test('a student with experts learns from a dense teacher, which gets no gradient, and the other way round', () => {
  const inputs = someInputs();
  for (const [studentConfig, teacherConfig] of [
    [tiny, tinyDense],
    [tinyDense, tiny],
  ] as const) {
    const [student, teacher] = [randomWeights(studentConfig, 0.1), randomWeights(teacherConfig)];
    const loss = () => distillationLoss(dit(student, studentConfig, ...inputs).output, dit(teacher, teacherConfig, ...inputs).output);
    const before = loss().dataSync()[0];
    const { grads } = valueAndGrads(() => ({ loss: loss() }), student, { allowZeros: true });
    expect(() => valueAndGrads(() => ({ loss: loss() }), teacher)).toThrow(/does not depend/);
    for (const [name, gradient] of Object.entries(grads)) student[name] = tf.sub(student[name], tf.mul(gradient, 0.01));
    expect(loss().dataSync()[0]).toBeLessThan(before);
  }
});

test('the loss is the mean over what both predict', () => {
  const student = tf.tensor([1, 2, 9, 9, 3, 4, 9, 9], [2, 4, 1, 1]);
  const teacher = tf.tensor([0, 0, 0, 0], [2, 2, 1, 1]);
  expect(distillationLoss(student, teacher).dataSync()[0]).toBeCloseTo((1 + 4 + 9 + 16) / 4);
  expect(() => distillationLoss(student, tf.zeros([3, 2, 1, 1]))).toThrow(/teacher/);
});

test('the blocks of models of different depth are compared at the same share of it', () => {
  const pairs = (depth: number, teacher: number) => Array.from({ length: depth }, (_, block) => matchingBlock(block, depth, teacher));
  expect(pairs(3, 3)).toEqual([0, 1, 2]);
  expect(pairs(2, 6)).toEqual([2, 5]);
  expect(pairs(4, 2)).toEqual([0, 0, 1, 1]);
  expect(pairs(3, 1)).toEqual([0, 0, 0]);
});

describe('the distance of hidden states', () => {
  const tokens = (width: number, seed: number) => tf.randomNormal([3, 5, width], 0, 1, 'float32', seed);

  test('is that of centred kernel alignment, computed by loops in double precision', () => {
    const [student, teacher] = [tokens(4, 1), tokens(6, 2)];
    const gram = (x: number[][]) => {
      const mean = x[0].map((_, d) => x.reduce((sum, row) => sum + row[d], 0) / x.length);
      const centred = x.map((row) => row.map((v, d) => v - mean[d]));
      return centred.flatMap((a) => centred.map((b) => a.reduce((sum, v, d) => sum + v * b[d], 0)));
    };
    const dot = (a: number[], b: number[]) => a.reduce((sum, v, i) => sum + v * b[i], 0);
    const [own, theirs] = [student.arraySync(), teacher.arraySync()] as number[][][][];
    const expected = own.map((x, i) => {
      const [a, b] = [gram(x), gram(theirs[i])];
      return 1 - dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
    });
    expect(hiddenDistance([student], [teacher]).dataSync()[0]).toBeCloseTo(expected.reduce((a, b) => a + b) / 3, 5);
  });

  test('is nothing between states that differ by place, size and rotation, and has a gradient for the student only', () => {
    const x = tokens(2, 3);
    const rotated = tf.add(
      tf.mul(tf.stack([tf.neg(tf.slice(x, [0, 0, 1])), tf.slice(x, [0, 0, 0], [-1, -1, 1])], 2).reshape([3, 5, 2]), 7),
      2,
    );
    expect(hiddenDistance([x], [rotated]).dataSync()[0]).toBeCloseTo(0, 5);
    const [student, teacher] = [tokens(4, 1), tokens(6, 2)];
    const distance = (own: tf.Tensor) => hiddenDistance([own, own], [teacher]);
    const gradient = tf.grad(distance)(student);
    const direction = tf.randomNormal(student.shape, 0, 1, 'float32', 5);
    const step = 1e-2;
    const moved = (by: number) => distance(tf.add(student, tf.mul(direction, by))).dataSync()[0];
    // Central differences in float32: rounding of 1e-7 over a step of 1e-2.
    expect((moved(step) - moved(-step)) / (2 * step)).toBeCloseTo(tf.sum(tf.mul(gradient, direction)).dataSync()[0], 3);
    expect(() => valueAndGrads(() => ({ loss: distance(student) }), { teacher })).toThrow(/does not depend/);
    expect(() => hiddenDistance([student], [tf.zeros([3, 4, 6])])).toThrow(/tokens/);
  });
});
