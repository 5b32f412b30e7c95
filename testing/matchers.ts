/** Matchers of all tests. */
import { expect } from 'vitest';

/** What the matcher needs of a tensor. */
interface TensorLike {
  readonly shape: readonly number[];
  dataSync(): ArrayLike<number>;
}

declare module 'vitest' {
  interface Matchers<T> {
    /**
     * Of equal shape, no difference above `tolerance` (default 1e-6) times the largest number wanted, which counts as 1 at least.
     * Equal infinities and NaN in the same places are equal.
     */
    toBeCloseTensor(wanted: TensorLike, tolerance?: number): T;
  }
}

expect.extend({
  toBeCloseTensor(actual: TensorLike, wanted: TensorLike, tolerance = 1e-6) {
    const { isNot } = this;
    if (actual.shape.join() !== wanted.shape.join())
      return { pass: false, message: () => `shape [${actual.shape}], expected [${wanted.shape}]` };
    const [a, w] = [actual.dataSync(), wanted.dataSync()];
    let [scale, worst, at] = [1, 0, 0];
    for (let i = 0; i < w.length; i++) {
      if (Number.isFinite(w[i])) scale = Math.max(scale, Math.abs(w[i]));
      const difference = Object.is(a[i], w[i]) || a[i] === w[i] ? 0 : Math.abs(a[i] - w[i]);
      // NaN is no number and so never larger than another.
      if (difference > worst || (Number.isNaN(difference) && !Number.isNaN(worst))) [worst, at] = [difference, i];
    }
    const message = () =>
      `differs ${isNot ? 'nowhere' : `at entry ${at}: ${a[at]}, expected ${w[at]}`} (${worst / scale} of the largest number, allowed ${tolerance})`;
    return { pass: worst / scale <= tolerance, message };
  },
});
