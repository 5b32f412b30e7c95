/** Which shards of a latent cache a worker makes. */
import type { Worker } from '@dit-moe/tensor-ops/node';

/** The shards of a worker: `[first, end)`, contiguous, sizes differing by one at most. */
export const shardsOf = ({ index, count }: Worker, shards: number): [number, number] => [
  Math.floor((index * shards) / count),
  Math.floor(((index + 1) * shards) / count),
];
