/** An 8-bit RGB picture in memory, as image files hold it: row by row, the three channels of a pixel together. */

export interface Picture {
  /** `[height, width, 3]`, 0..255. */
  data: Uint8Array;
  width: number;
  height: number;
}

/** The picture mirrored left to right. */
export function flipped({ data, width, height }: Picture): Picture {
  const out = new Uint8Array(data.length);
  for (let y = 0; y < height; y++) {
    const row = 3 * y * width;
    for (let x = 0; x < width; x++) {
      const [from, to] = [row + 3 * x, row + 3 * (width - 1 - x)];
      out[to] = data[from];
      out[to + 1] = data[from + 1];
      out[to + 2] = data[from + 2];
    }
  }
  return { data: out, width, height };
}
