/** The picture of a request to start from, from its bytes. */
import { pictureOf } from '@dit-moe/data';
import type { StartPicture } from '@dit-moe/pipeline';
import { ArgumentError } from '@dit-moe/tensor-ops';
import { fromBase64, type ModelInfo, type StartPixels } from './protocol.js';

/** @throws ArgumentError unless the bytes are those of pictures of the model's size */
export function startPicture(
  { pixels, strength, mask }: StartPixels,
  { height, width }: Pick<ModelInfo, 'height' | 'width'>,
): StartPicture {
  const picture = (name: string, text: string, channels: 1 | 3) =>
    pictureOf(bytesOf(`init.${name}`, text, height * width * channels), width, height, channels);
  return { picture: picture('pixels', pixels, 3), strength, ...(mask !== undefined && { mask: picture('mask', mask, 1) }) };
}

function bytesOf(name: string, text: string, count: number): Uint8Array {
  let bytes: Uint8Array | undefined;
  try {
    bytes = fromBase64(text);
  } catch {
    // Told below.
  }
  if (bytes?.length !== count)
    throw new ArgumentError(name, `${count} bytes in base64 for a picture of this model`, bytes === undefined ? 'no base64' : bytes.length);
  return bytes;
}
