/** The picture that sampling starts from, as the page holds it. */
import { type StartPixels, toBase64 } from '../serve/protocol.js';

export interface Start {
  /** Of any size: it is cropped and scaled to the model's. */
  picture: ImageBitmap;
  /** Where the image is to be new: 255, elsewhere 0, in the size of the model's pictures. */
  mask?: Mask;
}

export interface Mask {
  width: number;
  height: number;
  /** `[height, width]` */
  data: Uint8Array<ArrayBuffer>;
}

interface Size {
  width: number;
  height: number;
}

/** Fills a canvas with the largest middle part of a picture that has the canvas's shape. */
export function drawCropped(
  context: CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D,
  picture: ImageBitmap,
  { width, height }: Size,
): void {
  const scale = Math.max(width / picture.width, height / picture.height);
  const [across, down] = [picture.width * scale, picture.height * scale];
  context.imageSmoothingQuality = 'high';
  // The model knows no transparency.
  context.fillStyle = '#fff';
  context.fillRect(0, 0, width, height);
  context.drawImage(picture, (width - across) / 2, (height - down) / 2, across, down);
}

/** RGBA of a picture in a size. */
function rgba(picture: ImageBitmap, { width, height }: Size): Uint8ClampedArray {
  const context = new OffscreenCanvas(width, height).getContext('2d')!;
  drawCropped(context, picture, { width, height });
  return context.getImageData(0, 0, width, height).data;
}

/** A mask of a picture: new is what is lighter than the middle grey. */
export function maskOf(picture: ImageBitmap, size: Size): Mask {
  const pixels = rgba(picture, size);
  const data = Uint8Array.from({ length: size.width * size.height }, (_, i) =>
    pixels[4 * i] + pixels[4 * i + 1] + pixels[4 * i + 2] > 3 * 127.5 ? 255 : 0,
  );
  return { ...size, data };
}

/** The mask, with a round place of it painted new. */
export function painted({ width, height, data }: Mask, x: number, y: number, radius: number): Mask {
  const result = data.slice();
  for (let row = 0; row < height; row++)
    for (let column = 0; column < width; column++)
      if ((column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2 <= radius ** 2) result[row * width + column] = 255;
  return { width, height, data: result };
}

/** What a request says of it, for a model's size. */
export function pixelsOf({ picture, mask }: Start, { width, height }: Size, strength: number | undefined): StartPixels {
  const pixels = rgba(picture, { width, height });
  const rgb = Uint8Array.from({ length: 3 * width * height }, (_, i) => pixels[4 * Math.floor(i / 3) + (i % 3)]);
  return {
    pixels: toBase64(rgb),
    ...(strength !== undefined && { strength }),
    ...(mask !== undefined && mask.width === width && mask.height === height && { mask: toBase64(mask.data) }),
  };
}
