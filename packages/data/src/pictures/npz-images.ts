/** Images of an .npz file as ADM's sampler writes them (`arr_0`, uint8 `[N, H, W, C]`), streamed. */
import type { Npz } from '@dit-moe/tensor-ops/io';
import { FormatError } from '@dit-moe/tensor-ops/io';
import type { Pixels } from './pixels.js';

/** Bytes that are read at once, at most: 50,000 images of 512 x 512 are 39 GB. */
const BATCH_BYTES = 16 * 2 ** 20;

/** Shape `[N, H, W, C]` of the images in a file. */
export async function npzImageShape(npz: Npz, name = 'arr_0'): Promise<readonly [number, number, number, number]> {
  if (!npz.names.includes(name))
    throw new FormatError('images', `the .npz file has no array "${name}"; it has ${npz.names.slice(0, 10).join(', ') || 'none'}.`);
  const { dtype, shape } = await npz.info(name);
  if (dtype !== 'U8' || shape.length !== 4 || (shape[3] !== 1 && shape[3] !== 3))
    throw new FormatError('images', `"${name}" is ${dtype} [${shape}], expected U8 [N, H, W, 1 or 3] (NHWC).`);
  return shape as [number, number, number, number];
}

/**
 * Images of an .npz file, some at a time.
 * @throws FormatError if the array is not one of images
 */
export async function* npzImages(npz: Npz, name = 'arr_0'): AsyncGenerator<Pixels> {
  const [, height, width, channels] = await npzImageShape(npz, name);
  const rows = Math.max(1, Math.floor(BATCH_BYTES / Math.max(1, height * width * channels)));
  for await (const { data, shape } of npz.rows(name, rows)) yield { data: data as Uint8Array, count: shape[0], height, width, channels };
}

/** Class labels beside the images (`arr_1`), if there are as many. */
export async function npzLabels(npz: Npz, count: number): Promise<number[] | undefined> {
  if (!npz.names.includes('arr_1')) return undefined;
  const { shape } = await npz.info('arr_1');
  if (shape.length !== 1 || shape[0] !== count) return undefined;
  return Array.from((await npz.read('arr_1', 8 * count)).data as ArrayLike<number | bigint>, Number);
}
