/** All metrics of one set of features against a reference, with the reasons why some cannot be had and what to beware of. */
import { accuracy } from './classifier/extractor.js';
import { MetricError } from './errors.js';
import type { CollectedFeatures } from './feature-extractor.js';
import { type Features, selectRows } from './features.js';
import { type FrechetDistance, frechetDistance, frechetDistanceOf } from './frechet.js';
import { type FrechetInfinity, frechetInfinity, frechetInterval, type Interval } from './frechet-uncertainty.js';
import { type InceptionScore, inceptionScoreBySize, inceptionScoreBySplits } from './inception-score.js';
import { cmmd, kernelDistance, randomSubsets } from './kernel-distance.js';
import { densityCoverage, precisionRecall } from './manifold.js';
import { randomRows } from './random-rows.js';
import type { StatisticsOf } from './statistics/reference-statistics.js';

/** Names of the metrics, and what they are. */
export const metrics = {
  fd: 'Frechet distance of the pooled features (FID with Inception)',
  sfd: 'Frechet distance of the spatial features (sFID as ADM defines it)',
  is: 'Inception Score: splits of 5,000 in file order (ADM), and 10 shuffled splits (torch-fidelity)',
  accuracy: 'share of samples that a classifier of the same classes tells to be of their class',
  pr: 'precision and recall, k = 3, exact distances',
  'pr-adm': "precision and recall, k = 3, with the float16 rounding of ADM's evaluator",
  dc: 'density and coverage, k = 5',
  kd: 'kernel distance (KID with Inception), 100 subsets of 1,000',
  cmmd: 'CMMD, for CLIP embeddings',
  'fd-infinity': 'Frechet distance extrapolated to infinitely many samples',
  'fd-interval': '95 % bootstrap interval of the Frechet distance',
} as const;
/** Name of a metric. */
export type MetricName = keyof typeof metrics;

/** Rows of a split of the Inception Score as ADM's evaluator cuts them, and number of splits as torch-fidelity does. */
const ADM_SPLIT = 5000;
const SPLITS = 10;

/** What samples are compared with: statistics of a file, features of images, or both. */
export interface EvaluationReference {
  pool?: StatisticsOf;
  spatial?: StatisticsOf;
  /** Pooled features of the reference images; precision, recall, density, coverage and the kernel distances need them. */
  features?: Features;
}

/** Values of the metrics asked for; absent if not asked for or not possible. */
export interface MetricValues {
  fd?: FrechetDistance;
  sfd?: FrechetDistance;
  is?: { inOrder: InceptionScore; shuffled: InceptionScore };
  accuracy?: number;
  pr?: { precision: number; recall: number };
  'pr-adm'?: { precision: number; recall: number };
  dc?: { density: number; coverage: number };
  kd?: { mean: number; std: number };
  cmmd?: number;
  'fd-infinity'?: FrechetInfinity;
  'fd-interval'?: Interval;
}

/** The metrics that could be computed, and why others could not. */
export interface EvaluationResult {
  values: MetricValues;
  /** Why a metric has no value. */
  skipped: Partial<Record<MetricName, string>>;
  warnings: string[];
}

/** What is compared, and with which sample sizes. */
export interface EvaluateOptions {
  /** Class of each sample, if known: tells whether they are sorted, which ruins the Inception Score in file order. */
  labels?: readonly number[];
  /** Decides subsets and resamples (default 0). */
  seed?: number;
  /** Whether the logits are of the same classes as the labels (default false: Inception's are ImageNet's). */
  judgesLabels?: boolean;
  /** Called before each metric. */
  onMetric?: (name: MetricName) => void;
}

/**
 * Computes metrics.
 *
 * @param samples what `collectFeatures` gave, with moments and rows of `pool`, moments of `spatial`, rows of `logits` as far as
 * the network has them
 */
export function evaluate(
  samples: CollectedFeatures<'pool' | 'spatial' | 'logits'>,
  reference: EvaluationReference | undefined,
  names: readonly MetricName[],
  { labels, seed = 0, judgesLabels = false, onMetric }: EvaluateOptions = {},
): EvaluationResult {
  const values: MetricValues = {};
  const skipped: EvaluationResult['skipped'] = {};
  const pool = samples.features.pool;
  const against = frechetReference(pool, reference);

  const compute: Record<MetricName, () => string | undefined> = {
    fd() {
      if (pool === undefined || against === undefined) return 'there is no reference.';
      values.fd = 'covariance' in against ? frechetDistance(momentsOfSamples(samples, 'pool'), against) : frechetDistanceOf(pool, against);
    },
    sfd() {
      if (samples.moments.spatial === undefined) return 'the network has no spatial features.';
      if (reference === undefined) return 'there is no reference.';
      if (reference.spatial === undefined) return 'the reference has no spatial statistics (mu_s, sigma_s) and no images.';
      values.sfd = frechetDistance(samples.moments.spatial.moments(), reference.spatial);
    },
    is() {
      const logits = samples.features.logits;
      if (logits === undefined) return 'the network has no logits.';
      const shuffled = selectRows(logits, randomRows(logits.count, logits.count, seed, 'inception-score'));
      values.is = {
        inOrder: inceptionScoreBySize(logits, ADM_SPLIT),
        shuffled: inceptionScoreBySplits(shuffled, Math.min(SPLITS, logits.count)),
      };
    },
    accuracy() {
      const logits = samples.features.logits;
      if (logits === undefined || !judgesLabels) return 'the network is no classifier of these classes.';
      if (labels === undefined || labels.length !== samples.count) return 'the samples have no labels.';
      const unknown = labels.find((label) => !(label >= 0 && label < logits.dimension));
      if (unknown !== undefined) return `the samples have the label ${unknown}, the network ${logits.dimension} classes.`;
      values.accuracy = accuracy(logits, labels);
    },
    pr: () =>
      withImages((own, other) => {
        const { precision, recall } = precisionRecall(other, own);
        values.pr = { precision, recall };
      }, 4),
    'pr-adm': () =>
      withImages((own, other) => {
        const { precision, recall } = precisionRecall(other, own, 3, { precision: 'float16-first' });
        values['pr-adm'] = { precision, recall };
      }, 4),
    dc: () =>
      withImages((own, other) => {
        const { density, coverage } = densityCoverage(other, own);
        values.dc = { density, coverage };
      }, 6),
    kd: () =>
      withImages((own, other) => {
        const { mean, std } = kernelDistance(own, other, randomSubsets(own.count, other.count, { seed }));
        values.kd = { mean, std };
      }, 2),
    cmmd: () =>
      withImages((own, other) => {
        values.cmmd = cmmd(own, other);
      }, 2),
    'fd-infinity'() {
      if (pool === undefined || against === undefined) return 'there is no reference.';
      if (pool.count < 60) return `it needs at least 60 samples, there are ${pool.count}.`;
      values['fd-infinity'] = frechetInfinity(pool, against, { seed });
    },
    'fd-interval'() {
      if (pool === undefined || against === undefined) return 'there is no reference.';
      values['fd-interval'] = frechetInterval(pool, against, { seed });
    },
  };
  const withImages = (use: (own: Features, other: Features) => void, atLeast: number): string | undefined => {
    const other = reference?.features;
    if (reference === undefined) return 'there is no reference.';
    if (pool === undefined || other === undefined) return 'the reference has no images, only statistics.';
    if (Math.min(pool.count, other.count) < atLeast) return `it needs at least ${atLeast} images on each side.`;
    use(pool, other);
    return undefined;
  };
  for (const name of names) {
    onMetric?.(name);
    const reason = compute[name]();
    if (reason !== undefined) skipped[name] = reason;
  }
  return { values, skipped, warnings: warningsOf(samples, reference, values, labels) };
}

/**
 * What a Frechet distance is to: the statistics if there are some, as published numbers use them, but the features themselves
 * where they are the same images and too few for a covariance.
 */
function frechetReference(pool: Features | undefined, reference: EvaluationReference | undefined): StatisticsOf | Features | undefined {
  const { pool: statistics, features } = reference ?? {};
  if (pool === undefined || features === undefined || statistics === undefined) return statistics ?? features;
  const few = Math.min(pool.count, features.count) <= pool.dimension;
  return few && statistics.count === features.count ? features : statistics;
}

function momentsOfSamples(samples: CollectedFeatures<'pool' | 'spatial' | 'logits'>, name: 'pool' | 'spatial') {
  const moments = samples.moments[name];
  if (moments === undefined) throw new MetricError('evaluate', `no moments of "${name}" were collected.`);
  return moments.moments();
}

/** Whether labels ascend, as in a file written class by class. */
export const isSorted = (labels: readonly number[]): boolean =>
  labels.length > 1 && labels[0] !== labels.at(-1) && labels.every((label, i) => i === 0 || labels[i - 1] <= label);

function warningsOf(
  samples: CollectedFeatures<'pool' | 'spatial' | 'logits'>,
  reference: EvaluationReference | undefined,
  values: MetricValues,
  labels: readonly number[] | undefined,
): string[] {
  const warnings: string[] = [];
  if (values.is !== undefined && labels !== undefined && isSorted(labels))
    warnings.push(
      'The samples are sorted by class: the Inception Score in file order sees few classes per split and is far too low. Use the shuffled one, or shuffle the samples.',
    );
  const dimension = samples.features.pool?.dimension ?? samples.moments.pool?.dimension;
  const referenceCount = reference?.pool?.count ?? reference?.features?.count;
  if ((values.fd ?? values.sfd) !== undefined && dimension !== undefined) {
    for (const [count, whose] of [
      [samples.count, 'samples'],
      [referenceCount, 'reference images'],
    ] as const)
      if (count !== undefined && count <= dimension)
        warnings.push(
          `${count} ${whose} for ${dimension} dimensions: the covariance is singular and the Frechet distance mostly bias; more than ${dimension} are needed, 50,000 are usual.`,
        );
    if (samples.count < 50_000)
      warnings.push(`A Frechet distance rises as samples get fewer: compare this one only with others of ${samples.count} samples.`);
  }
  if (referenceCount !== undefined && referenceCount !== samples.count)
    warnings.push(`The reference is of ${referenceCount} images, there are ${samples.count} samples: state both numbers.`);
  return warnings;
}
