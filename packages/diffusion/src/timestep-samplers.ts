/**
 * Which timesteps to train on: uniform needs no code beyond `randomIntegers`; the loss-aware sampler (Nichol and Dhariwal 2021,
 * section 3.3) prefers timesteps whose recent losses vary most.
 */
import { ArgumentError } from '@dit-moe/tensor-ops';

/** Steps with their importance weights: multiply the loss by the weight to keep its expectation. */
export interface WeightedTimesteps {
  timesteps: Int32Array;
  weights: Float32Array;
}

/**
 * Samples timesteps in proportion to the root of their second moment of the loss.
 *
 * Uniform until every timestep has a full history. Feed it the losses of all processes, so that all processes agree.
 */
export class LossSecondMomentSampler {
  private readonly history: number[][];

  /**
   * @param steps number of timesteps
   * @param historyLength losses kept per timestep (default 10)
   * @param uniformShare share of uniform sampling mixed in, so that no timestep is forgotten (default 0.001)
   */
  constructor(
    readonly steps: number,
    readonly historyLength = 10,
    readonly uniformShare = 0.001,
  ) {
    for (const [name, value] of Object.entries({ steps, historyLength }))
      if (!Number.isInteger(value) || value < 1) throw new ArgumentError(`LossSecondMomentSampler: ${name}`, 'a positive integer', value);
    this.history = Array.from({ length: steps }, () => []);
  }

  /** Losses kept for each timestep, oldest first. */
  get lossHistory(): readonly (readonly number[])[] {
    return this.history;
  }

  /**
   * Goes on from the history of another sampler, such as a checkpoint's.
   *
   * @param history as {@link lossHistory}: `steps` lists of at most `historyLength` losses, oldest first; it is copied
   * @throws ArgumentError if it has another number of timesteps or longer lists
   */
  restore(history: readonly (readonly number[])[]): void {
    if (history.length !== this.steps || history.some((losses) => losses.length > this.historyLength))
      throw new ArgumentError(
        'LossSecondMomentSampler: history',
        `${this.steps} lists of at most ${this.historyLength} losses`,
        `${history.length} lists of at most ${Math.max(0, ...history.map((losses) => losses.length))}`,
      );
    for (const [t, losses] of history.entries()) this.history[t] = [...losses];
  }

  /** Unnormalised sampling weights, float64 `[steps]`; all 1 until every history is full. */
  weights(): Float64Array {
    if (this.history.some((losses) => losses.length < this.historyLength)) return new Float64Array(this.steps).fill(1);
    const roots = this.history.map((losses) => Math.sqrt(losses.reduce((s, l) => s + l * l, 0) / losses.length));
    const total = roots.reduce((s, r) => s + r, 0);
    return Float64Array.from(roots, (root) => (root / total) * (1 - this.uniformShare) + this.uniformShare / this.steps);
  }

  /**
   * Timesteps for uniform numbers in [0, 1), by inversion, with weights `1 / (steps p)`.
   * @param uniform one number per sample
   */
  sample(uniform: ArrayLike<number>): WeightedTimesteps {
    const weights = this.weights();
    const total = weights.reduce((s, w) => s + w, 0);
    const timesteps = Int32Array.from(uniform, (u) => {
      let rest = u * total;
      let t = 0;
      while (t < this.steps - 1 && rest >= weights[t]) rest -= weights[t++];
      return t;
    });
    return { timesteps, weights: Float32Array.from(timesteps, (t) => total / (this.steps * weights[t])) };
  }

  /**
   * Records losses.
   * @throws ArgumentError if a timestep is outside the schedule or a loss is not finite
   */
  update(timesteps: ArrayLike<number>, losses: ArrayLike<number>): void {
    for (let i = 0; i < timesteps.length; i++) {
      const [t, loss] = [timesteps[i], losses[i]];
      const kept = this.history[t];
      if (kept === undefined) throw new ArgumentError('LossSecondMomentSampler: timestep', `an integer in [0, ${this.steps})`, t);
      if (!Number.isFinite(loss)) throw new ArgumentError('LossSecondMomentSampler: loss', 'a finite number', loss);
      if (kept.length === this.historyLength) kept.shift();
      kept.push(loss);
    }
  }
}
