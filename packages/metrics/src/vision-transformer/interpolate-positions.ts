/** Offset that the reference adds to the new side before it divides by the old one (dinov2/models/vision_transformer.py). */
const OFFSET = 0.1;
/** Of PyTorch's cubic filter. */
const A = -0.75;

/**
 * Position embeddings of a grid of another side, by PyTorch's bicubic interpolation without antialiasing, as DINOv2 does it: with
 * the scale `(to + 0.1) / from` instead of `to / from`.
 *
 * @param positions `[1 + from * from, width]`, the class token's first
 * @returns `[1 + to * to, width]`
 */
export function interpolatePositions(positions: Float32Array, from: number, to: number, width: number): Float32Array {
  if (from === to) return positions;
  const out = new Float32Array((1 + to * to) * width);
  out.set(positions.subarray(0, width));
  const taps = Array.from({ length: to }, (_, i) => cubicTaps(((i + 0.5) * from) / (to + OFFSET) - 0.5, from));
  const at = (row: number, column: number): number => (1 + row * from + column) * width;
  for (let row = 0; row < to; row++) {
    for (let column = 0; column < to; column++) {
      const target = (1 + row * to + column) * width;
      for (const [r, wr] of taps[row])
        for (const [c, wc] of taps[column]) {
          const source = at(r, c);
          for (let d = 0; d < width; d++) out[target + d] += wr * wc * positions[source + d];
        }
    }
  }
  return out;
}

/** Places and weights of the four taps; places outside are moved to the edge. */
function cubicTaps(position: number, size: number): [place: number, weight: number][] {
  const base = Math.floor(position);
  const t = position - base;
  const near = (x: number) => ((A + 2) * x - (A + 3)) * x * x + 1;
  const far = (x: number) => ((A * x - 5 * A) * x + 8 * A) * x - 4 * A;
  const weights = [far(t + 1), near(t), near(1 - t), far(2 - t)];
  return weights.map((weight, i) => [Math.min(size - 1, Math.max(0, base - 1 + i)), weight]);
}
