/** The matcher of all tests for tensors and other rows of numbers. */
import { expect } from 'vitest';

/** What the matcher needs of a tensor; arrays have no shape but their length. */
interface TensorLike {
  readonly shape: readonly number[];
  dataSync(): ArrayLike<number>;
}
type Numbers = TensorLike | ArrayLike<number>;

declare module 'vitest' {
  interface Matchers<T> {
    /**
     * Of equal shape, no difference above `tolerance` (default 1e-6) times the largest number wanted, which counts as `atLeast` (default 1) or more:
     * 0 for numbers that are small on the whole. Equal infinities and NaN in the same places are equal.
     */
    toBeCloseTensor(wanted: Numbers, tolerance?: number, atLeast?: number): T;
  }
}

const isTensor = (x: Numbers): x is TensorLike => 'dataSync' in x;

expect.extend({
  toBeCloseTensor(actual: Numbers, wanted: Numbers, tolerance = 1e-6, atLeast = 1) {
    const { isNot } = this;
    const [a, w] = [actual, wanted].map((x) => (isTensor(x) ? x.dataSync() : x));
    const [found, expected] = isTensor(actual) && isTensor(wanted) ? [actual.shape, wanted.shape] : [[a.length], [w.length]];
    if (found.join() !== expected.join()) return { pass: false, message: () => `shape [${found}], expected [${expected}]` };
    let [scale, worst, at] = [atLeast, 0, 0];
    for (let i = 0; i < w.length; i++) {
      if (Number.isFinite(w[i])) scale = Math.max(scale, Math.abs(w[i]));
      const difference = Object.is(a[i], w[i]) || a[i] === w[i] ? 0 : Math.abs(a[i] - w[i]);
      // NaN is no number and so never larger than another.
      if (difference > worst || (Number.isNaN(difference) && !Number.isNaN(worst))) [worst, at] = [difference, i];
    }
    const message = () =>
      `differs ${isNot ? 'nowhere' : `at entry ${at}: ${a[at]}, expected ${w[at]}`} (${worst / scale} of the largest number, allowed ${tolerance})`;
    return { pass: worst <= tolerance * scale, message };
  },
});
