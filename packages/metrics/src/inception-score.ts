/**
 * Inception Score (Salimans et al. 2016): `exp E_x KL(p(y|x) || p(y))`, averaged over splits. From logits in float64 by
 * log-softmax, which stays finite where `0 log 0` would not.
 */
import { MetricError } from './errors.js';
import type { Features } from './features.js';

/** Mean over the splits, population standard deviation, and the splits themselves. */
export interface InceptionScore {
  mean: number;
  std: number;
  perSplit: number[];
}

/**
 * Score of consecutive splits of `splitSize` rows in file order, the last one shorter, as ADM's evaluator does (5,000 for
 * 50,000 samples). Samples sorted by class score far too low in this form.
 *
 * @param logits `[N, classes]`
 */
export function inceptionScoreBySize(logits: Features, splitSize: number): InceptionScore {
  if (!Number.isInteger(splitSize) || splitSize < 1)
    throw new MetricError('inceptionScore', `the split size must be a positive integer, found ${splitSize}.`);
  const bounds: number[] = [];
  for (let from = 0; from < logits.count; from += splitSize) bounds.push(from);
  return score(logits, [...bounds, logits.count]);
}

/**
 * Score of `splits` equal parts, as torch-fidelity does (10, of rows that the caller has shuffled).
 *
 * @param logits `[N, classes]`
 */
export function inceptionScoreBySplits(logits: Features, splits: number): InceptionScore {
  if (!Number.isInteger(splits) || splits < 1 || splits > logits.count)
    throw new MetricError('inceptionScore', `${logits.count} rows cannot be cut into ${splits} splits.`);
  return score(
    logits,
    Array.from({ length: splits + 1 }, (_, i) => Math.floor((i * logits.count) / splits)),
  );
}

function score(logits: Features, bounds: readonly number[]): InceptionScore {
  if (logits.count === 0) throw new MetricError('inceptionScore', 'there are no samples.');
  const perSplit = bounds.slice(1).map((to, i) => splitScore(logits, bounds[i], to));
  const mean = perSplit.reduce((a, b) => a + b, 0) / perSplit.length;
  const variance = perSplit.reduce((a, b) => a + (b - mean) ** 2, 0) / perSplit.length;
  return { mean, std: Math.sqrt(variance), perSplit };
}

function splitScore({ dimension, data }: Features, from: number, to: number): number {
  const marginal = new Float64Array(dimension);
  const logProbabilities = new Float64Array(dimension);
  let negativeEntropy = 0;
  for (let i = from; i < to; i++) {
    const row = i * dimension;
    let largest = Number.NEGATIVE_INFINITY;
    for (let j = 0; j < dimension; j++) largest = Math.max(largest, data[row + j]);
    let sum = 0;
    for (let j = 0; j < dimension; j++) sum += Math.exp(data[row + j] - largest);
    const logSum = largest + Math.log(sum);
    if (!Number.isFinite(logSum)) throw new MetricError('inceptionScore', `row ${i} has logits that are not finite.`);
    for (let j = 0; j < dimension; j++) {
      logProbabilities[j] = data[row + j] - logSum;
      const p = Math.exp(logProbabilities[j]);
      marginal[j] += p;
      if (p > 0) negativeEntropy += p * logProbabilities[j];
    }
  }
  const count = to - from;
  let marginalTerm = 0;
  for (let j = 0; j < dimension; j++) {
    const p = marginal[j] / count;
    if (p > 0) marginalTerm += p * Math.log(p);
  }
  return Math.exp(negativeEntropy / count - marginalTerm);
}
