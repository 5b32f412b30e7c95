export * from './batch.js';
export { randomIntegers, randomNormal, randomUniform } from './distributions.js';
export type { RandomKey, RandomStream } from './key.js';
export * from './permutation.js';
export type { PhiloxCounter, PhiloxKey } from './philox.js';
