/** A picture to start sampling from (SDEdit, Meng et al. 2022), or to complete where a mask says so. */
import { imagesOfPixels, type Pixels, toGrey } from '@dit-moe/data';
import { ArgumentError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { ImageSpace } from './image-space.js';

/** A picture in the model's space. */
export interface Reference {
  /** `[1, C, h, w]`. */
  clean: tf.Tensor;
  /** Place in (0, 1] where sampling starts: 1 keeps nothing of the picture. */
  strength: number;
  /** 1 where the image is new, 0 where the picture stays, `[1, 1, h, w]`. */
  mask?: tf.Tensor;
}

/** A picture to start from. */
export interface StartPicture {
  /** RGB or grey, of the size of the model's pictures. */
  picture: Pixels;
  /** How much noise, in (0, 1]: 1 keeps nothing of the picture (default 0.6; 1 with a mask: the new part starts from noise alone). */
  strength?: number;
  /** White (above the middle grey) where the image is to be new. */
  mask?: Pixels;
}

const DEFAULT_STRENGTH = 0.6;

/** The strength that a start picture means. */
export const strengthOf = ({ strength, mask }: Pick<StartPicture, 'strength' | 'mask'>): number =>
  strength ?? (mask === undefined ? DEFAULT_STRENGTH : 1);

/**
 * Brings a picture into a model's space; the caller disposes of the tensors.
 * @param inputSize height and width of the model's samples
 * @throws ArgumentError unless the pictures have the size of the model's
 */
export async function encodeReference(
  space: ImageSpace,
  inputSize: readonly [number, number],
  { picture, strength, mask }: StartPicture,
): Promise<Reference> {
  const [height, width] = inputSize;
  for (const [name, given] of Object.entries({ picture, mask }))
    if (given !== undefined && (given.height !== height * space.scale || given.width !== width * space.scale))
      throw new ArgumentError(
        `sample: ${name}`,
        `${height * space.scale} x ${width * space.scale} pixels`,
        `${given.height} x ${given.width}`,
      );
  const clean = await encode(space, picture);
  return {
    clean,
    strength: strengthOf({ strength, mask }),
    ...(mask !== undefined && {
      mask: tf.tidy(() => {
        const white = tf.cast(tf.greater(planes(toGrey(mask)), 127.5), 'float32');
        // A latent is new if any of its pixels is.
        const cells = tf.reshape(white, [1, height, space.scale, width, space.scale]);
        return tf.reshape(tf.max(cells, [2, 4]), [1, 1, height, width]);
      }),
    }),
  };
}

/** Values 0..255 as `[1, C, H, W]`. */
const planes = ({ data, height, width, channels }: Pixels): tf.Tensor =>
  tf.transpose(tf.tensor(data, [1, height, width, channels], 'float32'), [0, 3, 1, 2]);

async function encode(space: ImageSpace, picture: Pixels): Promise<tf.Tensor> {
  const image = tf.tidy(() => {
    const own = space.channels === 1 ? toGrey(picture) : picture;
    const scaled = imagesOfPixels(planes(own));
    return space.channels === own.channels ? scaled : tf.tile(scaled, [1, space.channels, 1, 1]);
  });
  return space.encode(image).finally(() => image.dispose());
}
