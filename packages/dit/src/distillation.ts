/**
 * Knowledge distillation between denoisers: the student also learns what a teacher predicts (Hinton et al. 2015), and how the teacher's
 * blocks relate the tokens of an image.
 */
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

/** Keeps the similarity of tokens that are all alike finite. */
const SMALLEST_SIMILARITY = 1e-12;

/**
 * How differently two models see the tokens of an image: one minus the linear centred kernel alignment of their blocks' outputs (Kornblith
 * et al. 2019, arXiv 1905.00414, equation 3, over the tokens of each image), a mean over images and over the student's blocks, each of which
 * is compared with the teacher's at the same share of the depth. It compares similarities between tokens, so that widths may differ and
 * nothing has to be learned to bring one to the other.
 *
 * @param student `[B, T, D]` of every block, from the first
 * @param teacher the same for another depth and width, constant here
 * @returns scalar in [0, 1]
 * @throws ShapeError if batch or tokens differ
 */
export function hiddenDistance(student: readonly tf.Tensor[], teacher: readonly tf.Tensor[]): tf.Scalar {
  const distances = student.map((own, block) => {
    const theirs = stopGradient(teacher[matchingBlock(block, student.length, teacher.length)]);
    if (own.shape.slice(0, 2).join() !== theirs.shape.slice(0, 2).join())
      throw new ShapeError('hiddenDistance', `the teacher's tokens [${own.shape.slice(0, 2)}, D]`, theirs.shape);
    const [a, b] = [tokenSimilarities(own), tokenSimilarities(theirs)]; // each [B, T, T]
    const together = tf.sum(tf.mul(a, b), [1, 2]); // [B]
    const alone = tf.sqrt(tf.mul(tf.sum(tf.square(a), [1, 2]), tf.sum(tf.square(b), [1, 2]))); // [B]
    return tf.sub(1, tf.mean(tf.div(together, tf.maximum(alone, SMALLEST_SIMILARITY)))); // []
  });
  return tf.mean(tf.stack(distances));
}

/** The teacher's block that ends at the same share of the depth, or the next one. */
export const matchingBlock = (block: number, depth: number, teacherDepth: number): number =>
  Math.ceil(((block + 1) * teacherDepth) / depth) - 1;

/** Products of every two tokens of an image about their mean, `[B, T, D] -> [B, T, T]`. */
function tokenSimilarities(tokens: tf.Tensor): tf.Tensor {
  const centred = tf.sub(tokens, tf.mean(tokens, 1, true)) as tf.Tensor3D; // [B, T, D]
  return tf.matMul(centred, centred, false, true);
}
