/** Which pictures are asked for, and the noise that each of them begins with. */
import { type ModelCard, nullLabelOf } from '@dit-moe/dit';
import { ArgumentError, randomNormalBatch } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

/** One image: its label, and its number, which with the seed determines its noise. */
export interface ImageRequest {
  /** Class from 0; `null` for no class. */
  label: number | null;
  index: number;
  /** Another seed than the settings'. */
  seed?: number;
  /** The other end, and how far on the way there the image is (0 to 1): start noise by great circle, class by embedding. */
  toward?: { label: number; seed: number; share: number };
}

/**
 * Labels as the model is told them.
 * @throws ArgumentError for a class that the model does not have, or for no class if it knows none
 */
export function modelLabels({ config }: ModelCard, images: readonly ImageRequest[]): number[] {
  const classes = Math.max(1, config.numClasses);
  const check = (label: number): number => {
    if (!Number.isInteger(label) || label < 0 || label >= classes)
      throw new ArgumentError('sample: label', `a class from 0 to ${classes - 1}`, label);
    return label;
  };
  return images.map(({ label, toward }) => {
    if (toward !== undefined) check(toward.label);
    if (label !== null) return check(label);
    const none = config.numClasses === 0 ? 0 : nullLabelOf(config);
    if (none === undefined) throw new ArgumentError('sample: label', 'a class: this model knows no "no class"', 'null');
    return none;
  });
}

/** Start noise `[B, ...shape]`. */
export function startNoise(images: readonly ImageRequest[], seed: number, shape: readonly number[]): tf.Tensor {
  const of = (image: ImageRequest, itsSeed: number): tf.Tensor =>
    randomNormalBatch({ seed: itsSeed, purpose: 'sample', indices: [image.index] }, shape);
  if (images.every(({ seed: own, toward }) => own === undefined && toward === undefined))
    return randomNormalBatch({ seed, purpose: 'sample', indices: images.map(({ index }) => index) }, shape);
  return tf.tidy(() =>
    tf.concat(
      images.map((image) => {
        const { seed: own = seed, toward } = image;
        const from = of(image, own);
        if (toward === undefined || toward.seed === own) return from;
        return slerp(from, of(image, toward.seed), toward.share);
      }),
      0,
    ),
  );
}

/** The point at `share` of the great circle between two directions; normal numbers stay normal in length, unlike on a straight line. */
function slerp(a: tf.Tensor, b: tf.Tensor, share: number): tf.Tensor {
  const cosine = tf.div(tf.sum(tf.mul(a, b)), tf.mul(tf.norm(a), tf.norm(b)));
  const angle = tf.acos(tf.clipByValue(cosine, -1, 1));
  const weight = (s: number): tf.Tensor => tf.div(tf.sin(tf.mul(angle, s)), tf.sin(angle));
  return tf.add(tf.mul(a, weight(1 - share)), tf.mul(b, weight(share)));
}
