/** Knowledge distillation (Hinton et al. 2015) between denoisers: the student also learns what a teacher predicts. */
import { ShapeError, stopGradient } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

/**
 * Mean squared distance of a student's prediction to a teacher's, an extra loss term to be weighted and added by the caller. Teacher
 * and student may have any architecture (dense to experts and back); they must share objective and time scale, see `requireCard`.
 *
 * @param student `[B, C, H, W]`, or `[B, 2C, H, W]` with learned sigma
 * @param teacher the same, constant here: no gradient flows into it; of channels that only one of them has nothing is compared
 * @returns scalar
 * @throws ShapeError if batch or sizes differ
 */
export function distillationLoss(student: tf.Tensor, teacher: tf.Tensor): tf.Scalar {
  const [batch, own, height, width] = student.shape as [number, number, number, number];
  const theirs = teacher.shape[1]!;
  if (student.rank !== 4 || teacher.shape.join() !== [batch, theirs, height, width].join())
    throw new ShapeError('distillationLoss', `the teacher's prediction [${batch}, C, ${height}, ${width}]`, teacher.shape);
  const channels = Math.min(own, theirs);
  const first = (x: tf.Tensor): tf.Tensor => (x.shape[1] === channels ? x : tf.slice(x, [0, 0, 0, 0], [batch, channels, height, width]));
  return tf.mean(tf.squaredDifference(first(student), stopGradient(first(teacher))));
}
