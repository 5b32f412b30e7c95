export { MetricError } from './errors.js';
export { type Features, features, selectRows } from './features.js';
export { type FrechetDistance, frechetDistance } from './frechet.js';
export { type InceptionScore, inceptionScoreBySize, inceptionScoreBySplits } from './inception-score.js';
export { type KernelDistance, kernelDistance, polynomialMmd } from './kernel-distance.js';
export { type Matrix, matrix } from './linear-algebra/matrix.js';
export { type DensityCoverage, densityCoverage, type PrecisionRecall, precisionRecall, squaredRadii } from './manifold.js';
export { type Moments, momentsOf, StreamingMoments } from './moments.js';
