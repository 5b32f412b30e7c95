export { alone, type Collectives, type Reduction } from './collectives.js';
export type { Bucket, GradientBucketsOptions } from './gradient-buckets.js';
export { RankMean, type RankMeanOptions } from './rank-mean.js';
export { ShardLayout } from './shard-layout.js';
