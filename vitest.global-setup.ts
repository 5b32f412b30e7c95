import { findLibtensorflow } from './packages/tensor-ops/src/node/library/index.js';

/** Fetches libtensorflow once before the test processes start, which then find it in the cache. */
export default async function setup(): Promise<void> {
  await findLibtensorflow({ onProgress: (message) => console.log(message) });
}
