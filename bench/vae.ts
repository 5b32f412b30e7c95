/** Stable Diffusion's autoencoder with random weights against diffusers' on PyTorch, and what surrounds it: preprocessing and the latent cache. */
import { BenchmarkError, type BenchmarkOptions, type BenchmarkResult } from './harness/benchmark.js';
import { reading } from './vae/data.js';
import { memory } from './vae/memory.js';
import { passes } from './vae/passes.js';

export const name = 'vae';

const sections: Record<string, (options: BenchmarkOptions) => Promise<BenchmarkResult[]>> = {
  data: reading,
  'encode-256': (options) => passes('encode', 256, options),
  'decode-256': (options) => passes('decode', 256, options),
  'encode-512': (options) => passes('encode', 512, options),
  'decode-512': (options) => passes('decode', 512, options),
  // In processes of their own, which count nothing that others left behind.
  memory,
};

export const description =
  "Stable Diffusion's autoencoder against PyTorch, preprocessing against sharp, latent reads; sections: data, encode-256, decode-256, encode-512, decode-512, memory";

export async function run(options: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const { only } = options;
  if (only !== undefined && !(only in sections))
    throw new BenchmarkError(`There is no section "${only}": ${Object.keys(sections).join(', ')}.`);
  const results: BenchmarkResult[] = [];
  for (const [section, measure] of Object.entries(sections))
    if (only === undefined || only === section) results.push(...(await measure(options)));
  return results;
}
