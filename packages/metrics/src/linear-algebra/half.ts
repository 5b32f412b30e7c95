/** Rounding to float16, which typed arrays of Node 20 do not have. */

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** Largest finite float16, and where rounding to infinity begins: half a unit above it. */
const HALF_OVERFLOW = 65520;
/** Smallest normal float16 is 2^-14; below it the spacing is 2^-24. */
const SMALLEST_NORMAL = 2 ** -14;
const SUBNORMAL_SPACING = 2 ** -24;

/** `x` rounded to the nearest float16, ties to even; infinite beyond its range. */
export function roundToHalf(x: number): number {
  const magnitude = Math.abs(x);
  if (!(magnitude < HALF_OVERFLOW)) return Number.isNaN(x) ? x : x > 0 ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
  if (magnitude < SMALLEST_NORMAL) return roundToEven(x / SUBNORMAL_SPACING) * SUBNORMAL_SPACING;
  float[0] = x;
  const rest = bits[0] & 0x1fff; // the 13 bits of the mantissa that float16 lacks
  const odd = bits[0] & 0x2000;
  bits[0] -= rest;
  if (rest > 0x1000 || (rest === 0x1000 && odd !== 0)) bits[0] += 0x2000;
  return float[0];
}

function roundToEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}
