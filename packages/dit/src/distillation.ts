/** Knowledge distillation (Hinton et al. 2015) between denoisers: the student also learns what a teacher predicts. */
import { ArgumentError, ShapeError, stopGradient } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

/**
 * Mean squared distance of a student's prediction to a teacher's, an extra loss term to be weighted and added by the caller. Teacher
 * and student may have any architecture (dense to experts and back); they must share objective and time scale, see `requireCard`.
 *
 * @param student `[B, C, H, W]`, or `[B, 2C, H, W]` with learned sigma
 * @param teacher the same, constant here: no gradient flows into it
 * @param options `channels`: compare the first ones only (default: all that both have, so without the variance if one has none);
 *   `sampleWeights` `[B]`: weight of each sample, for example by its time (default 1)
 * @returns scalar
 * @throws ShapeError if batch or sizes differ
 */
export function distillationLoss(
  student: tf.Tensor,
  teacher: tf.Tensor,
  options: { channels?: number; sampleWeights?: tf.Tensor } = {},
): tf.Scalar {
  const [batch, own, height, width] = student.shape as [number, number, number, number];
  const [, theirs] = teacher.shape as [number, number];
  const { channels = Math.min(own, theirs), sampleWeights } = options;
  if (student.rank !== 4 || teacher.shape.join() !== [batch, theirs, height, width].join())
    throw new ShapeError('distillationLoss', `the teacher's prediction [${batch}, C, ${height}, ${width}]`, teacher.shape);
  if (!Number.isInteger(channels) || channels < 1 || channels > Math.min(own, theirs))
    throw new ArgumentError('distillationLoss: channels', `1 to ${Math.min(own, theirs)}`, channels);
  const first = (x: tf.Tensor): tf.Tensor => (x.shape[1] === channels ? x : tf.slice(x, [0, 0, 0, 0], [batch, channels, height, width]));
  const size = channels * height * width;
  const squares = tf.reshape(tf.squaredDifference(first(student), stopGradient(first(teacher))), [batch, size]);
  const perSample = tf.div(tf.sum(squares, 1), size);
  return tf.div(tf.sum(sampleWeights === undefined ? perSample : tf.mul(perSample, sampleWeights)), batch) as tf.Scalar;
}
