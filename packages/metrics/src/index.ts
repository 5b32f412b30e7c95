export { type ClassifierConfig, classifierSpecs } from './classifier/architecture.js';
export { accuracy, classifierExtractor } from './classifier/extractor.js';
export { type ClassifierTrainingOptions, trainClassifier } from './classifier/train-classifier.js';
export { MetricError } from './errors.js';
export {
  type EvaluateOptions,
  type EvaluationReference,
  type EvaluationResult,
  evaluate,
  isSorted,
  type MetricName,
  type MetricValues,
  metrics,
} from './evaluate.js';
export {
  type CollectedFeatures,
  type CollectOptions,
  collectFeatures,
  type ExtractFeatures,
  type FeatureExtractor,
} from './feature-extractor.js';
export { type Features, features, selectRows } from './features.js';
export { type FrechetDistance, frechetDistance, frechetDistanceOf } from './frechet.js';
export {
  type BootstrapOptions,
  type FrechetInfinity,
  type FrechetInfinityOptions,
  frechetInfinity,
  frechetInterval,
  type Interval,
} from './frechet-uncertainty.js';
export { type InceptionOutput, type InceptionWeights, inception, type LayerTrace } from './inception/architecture.js';
export { type InceptionResize, inceptionExtractor, resizeForInception } from './inception/extractor.js';

export { disposeInception, inceptionShapes, loadInception } from './inception/weights.js';
export { type InceptionScore, inceptionScoreBySize, inceptionScoreBySplits } from './inception-score.js';
export { cmmd, type KernelDistance, kernelDistance, polynomialMmd } from './kernel-distance.js';
export { type Matrix, matrix } from './linear-algebra/matrix.js';
export { type DensityCoverage, densityCoverage, type PrecisionRecall, precisionRecall, squaredRadii } from './manifold.js';
export { type MetricRow, metricRows } from './metric-rows.js';
export { type Moments, momentsOf, StreamingMoments } from './moments.js';
export { type OnlineEvaluation, type OnlineEvaluationOptions, type OnlineEvaluationResult, onlineEvaluation } from './online.js';
export { pixelExtractor } from './pixel-extractor.js';
export { randomRows } from './random-rows.js';
export { type ResampleKernel, resample } from './resample.js';
export { type SharedExtractorOptions, sharedExtractor } from './shared-extractor.js';
export type { DistancePrecision, TileOptions } from './squared-distances.js';
export {
  type ReferenceStatistics,
  readStatistics,
  type StatisticsLayout,
  type StatisticsOf,
  statisticsArrays,
} from './statistics/reference-statistics.js';
export { clipExtractor } from './vision-transformer/clip.js';
export { type Dinov2Options, dinov2Extractor } from './vision-transformer/dinov2.js';
