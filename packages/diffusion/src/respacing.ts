/** Sampling with fewer steps than in training: which timesteps to keep, and the betas between them (guided-diffusion's respacing). */
import { ArgumentError } from '@dit-moe/tensor-ops';

/**
 * The timesteps to keep, rising.
 *
 * - `"250"`: 250 equally spaced steps from first to last.
 * - `"10,15,20"`: that many in each of three equal sections (the first ones take the remainder), fractional strides rounded half to even.
 * - `"ddim50"`: the smallest integer stride from 0 that gives exactly 50.
 *
 * @param steps number of steps in training
 * @throws ArgumentError if the text has another form, or the number of steps cannot be had
 */
export function respacedTimesteps(steps: number, spacing: string): number[] {
  const where = 'respacedTimesteps: spacing';
  if (!Number.isInteger(steps) || steps < 1) throw new ArgumentError('respacedTimesteps: steps', 'a positive integer', steps);
  const ddim = /^ddim([1-9]\d*)$/.exec(spacing);
  if (ddim !== null) {
    const count = Number(ddim[1]);
    // As in the reference a stride is shorter than the whole, so that there is no "ddim1".
    for (let stride = 1; stride < steps; stride++)
      if (Math.ceil(steps / stride) === count) return Array.from({ length: count }, (_, i) => i * stride);
    throw new ArgumentError(where, `a number of steps that an integer stride through ${steps} gives`, spacing);
  }
  if (!/^[1-9]\d*(\s*,\s*[1-9]\d*)*$/.test(spacing)) throw new ArgumentError(where, '"250", "10,15,20" or "ddim50"', spacing);
  const counts = spacing.split(',').map(Number);
  const kept: number[] = [];
  let start = 0;
  for (const [section, count] of counts.entries()) {
    const size = Math.floor(steps / counts.length) + (section < steps % counts.length ? 1 : 0);
    if (size < count) throw new ArgumentError(where, `at most ${size} steps in section ${section + 1} of ${counts.length}`, spacing);
    const stride = count === 1 ? 1 : (size - 1) / (count - 1);
    // Added up rather than multiplied, as in the reference: the two differ where a product falls exactly on one half.
    for (let i = 0, at = 0; i < count; i++, at += stride) kept.push(start + roundHalfToEven(at));
    start += size;
  }
  return kept;
}

/** Betas of a process that keeps only `timesteps` of one with the given cumulative products. */
export function respacedBetas(alphasCumprod: ArrayLike<number>, timesteps: readonly number[]): Float64Array {
  let last = 1;
  return Float64Array.from(timesteps, (t) => {
    if (!(Number.isInteger(t) && t >= 0 && t < alphasCumprod.length))
      throw new ArgumentError('respacedBetas: timesteps', `integers in [0, ${alphasCumprod.length})`, t);
    const beta = 1 - alphasCumprod[t] / last;
    last = alphasCumprod[t];
    return beta;
  });
}

function roundHalfToEven(x: number): number {
  const floor = Math.floor(x);
  if (x - floor !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}
