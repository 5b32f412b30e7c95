export * from './batch.js';
export { randomBits, randomIntegers, randomNormal, randomUniform } from './distributions.js';
export { philoxCounter, philoxKey, type RandomKey, type RandomStream } from './key.js';
export * from './permutation.js';
export * from './philox.js';
