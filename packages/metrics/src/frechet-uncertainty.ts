/**
 * How much a Frechet distance owes to the number of samples: its extrapolation to infinitely many (Chong and Forsyth 2020) and
 * bootstrap intervals.
 */
import { randomIntegers } from '@dit-moe/tensor-ops';
import { MetricError } from './errors.js';
import { type Features, selectRows } from './features.js';
import { frechetDistance, frechetDistanceOf } from './frechet.js';
import { type Moments, momentsOf } from './moments.js';
import { randomRows } from './random-rows.js';

/** A line through distances of subsets, against 1 / N. */
export interface FrechetInfinity {
  /** Where the line meets 1 / N = 0: the distance of infinitely many samples. */
  distance: number;
  /** Rise per 1 / N. */
  slope: number;
  /** Share of the variance that the line explains; near 1 if the bias is of order 1 / N, as it should be. */
  rSquared: number;
  points: { count: number; distance: number }[];
}

/** Reference: its statistics, or its features. */
type Reference = Features | (Pick<Moments, 'mean' | 'covariance'> & { readonly count?: number });

/** Reference statistics are computed once, unless the features are too few for them (see {@link frechetDistanceOf}). */
function distanceTo(reference: Reference): (samples: Features) => number {
  if ('covariance' in reference) return (samples) => frechetDistance(momentsOf(samples), reference).distance;
  if (reference.count <= reference.dimension) return (samples) => frechetDistanceOf(samples, reference).distance;
  const moments = momentsOf(reference);
  return (samples) =>
    samples.count <= samples.dimension
      ? frechetDistanceOf(samples, reference).distance
      : frechetDistance(momentsOf(samples), moments).distance;
}

/** Sample sizes of the extrapolation. */
export interface FrechetInfinityOptions {
  /** Number of subset sizes (default 15, as the paper). */
  sizes?: number;
  /** Smallest subset (default a tenth of the samples, at least 2); sizes are spaced evenly up to all samples. */
  smallest?: number;
  /** Decides the subsets (default 0). */
  seed?: number;
}

/**
 * FD-infinity: the distance of random subsets of growing size, extrapolated linearly in 1 / N.
 * @throws MetricError if there are too few samples for the sizes
 */
export function frechetInfinity(samples: Features, reference: Reference, options: FrechetInfinityOptions = {}): FrechetInfinity {
  const { sizes = 15, smallest = Math.max(2, Math.floor(samples.count / 10)), seed = 0 } = options;
  if (!Number.isInteger(sizes) || sizes < 2 || smallest < 2 || smallest + sizes - 1 > samples.count)
    throw new MetricError(
      'frechetInfinity',
      `${samples.count} samples do not give ${sizes} sizes from ${smallest}; at least 2 sizes of at least 2.`,
    );
  const distance = distanceTo(reference);
  const points = Array.from({ length: sizes }, (_, i) => {
    const count = Math.round(smallest + ((samples.count - smallest) * i) / (sizes - 1));
    return { count, distance: distance(selectRows(samples, randomRows(samples.count, count, seed, 'fd-infinity', i))) };
  });
  const mean = (of: (p: (typeof points)[number]) => number) => points.reduce((sum, p) => sum + of(p), 0) / points.length;
  const [meanX, meanY] = [mean((p) => 1 / p.count), mean((p) => p.distance)];
  const xx = mean((p) => (1 / p.count - meanX) ** 2);
  const xy = mean((p) => (1 / p.count - meanX) * (p.distance - meanY));
  const yy = mean((p) => (p.distance - meanY) ** 2);
  const slope = xy / xx;
  return { distance: meanY - slope * meanX, slope, rSquared: yy === 0 ? 1 : xy ** 2 / (xx * yy), points };
}

/** A bootstrap interval. */
export interface Interval {
  /** Of the samples as they are. */
  value: number;
  /** Standard deviation over the resamples. */
  standardError: number;
  /** Bounds that hold with the level asked for. */
  low: number;
  high: number;
  level: number;
}

/** How an interval is resampled. */
export interface BootstrapOptions {
  /** Resamples (default 100). */
  resamples?: number;
  /** Probability of the interval (default 0.95). */
  level?: number;
  /** Decides the resamples (default 0). */
  seed?: number;
}

/**
 * Interval of a Frechet distance when the samples are drawn again. Resampling repeats rows, which raises the distance by itself,
 * so the resamples' deviations from their mean are laid around the value, not the resamples themselves.
 */
export function frechetInterval(samples: Features, reference: Reference, options: BootstrapOptions = {}): Interval {
  const { resamples = 100, level = 0.95, seed = 0 } = options;
  if (!Number.isInteger(resamples) || resamples < 2 || !(level > 0 && level < 1))
    throw new MetricError('frechetInterval', `expected at least 2 resamples and a level in (0, 1), found ${resamples} and ${level}.`);
  const distance = distanceTo(reference);
  const value = distance(samples);
  const drawn = Float64Array.from({ length: resamples }, (_, index) =>
    distance(selectRows(samples, randomIntegers({ seed, purpose: 'bootstrap', index }, samples.count, samples.count))),
  );
  const mean = drawn.reduce((sum, v) => sum + v, 0) / resamples;
  const deviations = drawn.map((v) => v - mean).sort();
  const quantile = (p: number): number => {
    const place = p * (resamples - 1);
    const below = Math.floor(place);
    return deviations[below] + (place - below) * (deviations[Math.min(below + 1, resamples - 1)] - deviations[below]);
  };
  return {
    value,
    standardError: Math.sqrt(deviations.reduce((sum, v) => sum + v * v, 0) / (resamples - 1)),
    low: Math.max(0, value + quantile((1 - level) / 2)),
    high: value + quantile((1 + level) / 2),
    level,
  };
}
