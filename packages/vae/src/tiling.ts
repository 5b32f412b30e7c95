/**
 * Encoding and decoding of images too large for memory: overlapping tiles whose seams are blended linearly (diffusers' scheme).
 * Group norms and attention see one tile only, so the result differs from the untiled one: by 8 % (RMS) for tiles of half the edge of a
 * picture and a trained autoencoder, much more for smaller tiles or random weights; docs/measurements/autoencoder.md has a table. Strips differ by rounding only.
 */
import { ArgumentError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type AutoencoderConfig, downscale } from './config.js';

/** Size and overlap of tiles. */
export interface TilingOptions {
  /** Edge of a tile in pixels, a multiple of the downscale (default: the configuration's sample size). */
  tileSize?: number;
  /** Share of a tile that overlaps the next, in [0, 1) (default 0.25). */
  overlap?: number;
}

/** Encodes or decodes one tile, `[B, C, h, w]`; may be a compiled step. */
export type TileFunction = (tile: tf.Tensor) => tf.Tensor | Promise<tf.Tensor>;

/** Encodes images `[B, C, H, W]` tile by tile with `encode` (moments of a tile). */
export function encodeTiled(
  config: AutoencoderConfig,
  x: tf.Tensor,
  encode: TileFunction,
  options: TilingOptions = {},
): Promise<tf.Tensor> {
  const { pixels, latents, overlap } = tileSizes(config, options);
  const blend = Math.floor(latents * overlap);
  return joined(x, { size: pixels, stride: Math.floor(pixels * (1 - overlap)), blend, keep: latents - blend }, encode);
}

/** Decodes latents `[B, C, h, w]` tile by tile with `decode`. */
export function decodeTiled(
  config: AutoencoderConfig,
  z: tf.Tensor,
  decode: TileFunction,
  options: TilingOptions = {},
): Promise<tf.Tensor> {
  const { pixels, latents, overlap } = tileSizes(config, options);
  const blend = Math.floor(pixels * overlap);
  return joined(z, { size: latents, stride: Math.floor(latents * (1 - overlap)), blend, keep: pixels - blend }, decode);
}

function tileSizes(config: AutoencoderConfig, { tileSize = config.sampleSize, overlap = 0.25 }: TilingOptions) {
  const scale = downscale(config);
  if (!Number.isInteger(tileSize / scale) || tileSize < scale)
    throw new ArgumentError('tiling: tileSize', `a positive multiple of ${scale}`, tileSize);
  const latents = tileSize / scale;
  // Otherwise the tiles of the encoder would not begin at a latent, and the parts kept would not join.
  if (!(overlap >= 0 && overlap < 1) || !Number.isInteger(latents * overlap))
    throw new ArgumentError('tiling: overlap', `a share in [0, 1) that is a whole number of the ${latents} latents of a tile`, overlap);
  return { pixels: tileSize, latents, overlap };
}

/** In units of the input: `size`, `stride`; of the output: `blend`, `keep`. */
interface Plan {
  size: number;
  stride: number;
  blend: number;
  keep: number;
}

async function joined(x: tf.Tensor, { size, stride, blend, keep }: Plan, apply: TileFunction): Promise<tf.Tensor> {
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  const rows: tf.Tensor[] = [];
  let above: tf.Tensor[] = [];
  let row: tf.Tensor[] = [];
  try {
    for (let top = 0; top < height; top += stride) {
      row = [];
      for (let left = 0; left < width; left += stride) {
        const extent = [batch, channels, Math.min(size, height - top), Math.min(size, width - left)];
        const tile = tf.slice(x, [0, 0, top, left], extent);
        let fresh: tf.Tensor;
        try {
          fresh = await apply(tile);
        } finally {
          tile.dispose();
        }
        row.push(
          tf.tidy(() => {
            const [upper, before] = [above[row.length], row.at(-1)];
            const blended = upper === undefined ? fresh : blendSeam(upper, fresh, 2, blend);
            return before === undefined ? blended.clone() : blendSeam(before, blended, 3, blend).clone();
          }),
        );
        fresh.dispose();
      }
      rows.push(
        tf.tidy(() =>
          tf.concat(
            row.map((tile) => cut(cut(tile, 2, 0, keep), 3, 0, keep)),
            3,
          ),
        ),
      );
      tf.dispose(above);
      above = row;
    }
    return tf.concat(rows, 2);
  } finally {
    tf.dispose([above, row, rows]);
  }
}

/** `tile` whose first entries along `axis` fade in over the last ones of the neighbour in front of it. */
function blendSeam(neighbour: tf.Tensor, tile: tf.Tensor, axis: number, blend: number): tf.Tensor {
  const [length, before] = [tile.shape[axis], neighbour.shape[axis]];
  const extent = Math.min(blend, length, before);
  if (extent === 0) return tile;
  const weight = tf.reshape(tf.div(tf.range(0, extent, 1), extent), axis === 2 ? [extent, 1] : [1, extent]);
  const seam = tf.add(tf.mul(cut(neighbour, axis, before - extent, before), tf.sub(1, weight)), tf.mul(cut(tile, axis, 0, extent), weight));
  return extent === length ? seam : tf.concat([seam, cut(tile, axis, extent, length)], axis);
}

/** Entries `from` to `to` along `axis`, as far as there are any. */
function cut(x: tf.Tensor, axis: number, from: number, to: number): tf.Tensor {
  const begin = x.shape.map((_, i) => (i === axis ? from : 0));
  return tf.slice(
    x,
    begin,
    x.shape.map((n, i) => (i === axis ? Math.min(to, n) - from : n)),
  );
}
