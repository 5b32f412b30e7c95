import { valueAndGrads } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { distillationLoss, dit } from './index.js';
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
