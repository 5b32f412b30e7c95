/** Which of a peer's variants is the fastest here: the one to be compared with. */
import type { BenchmarkOptions } from './benchmark.js';
import { BenchmarkError } from './benchmark.js';
import { median } from './measure.js';
import type { Peer } from './peer.js';

/**
 * Times each variant alone; those that fail are reported and passed over.
 *
 * @param request what the peer prepares, times and releases, without the variant
 * @throws BenchmarkError if none runs
 */
export async function fastestVariant(
  peer: Peer,
  variants: readonly string[],
  request: Readonly<Record<string, unknown>>,
  { quick, log }: BenchmarkOptions,
): Promise<string> {
  let best: { variant: string; seconds: number } | undefined;
  for (const variant of variants) {
    try {
      const start = performance.now();
      await peer.request({ do: 'prepare', ...request, variant });
      const { seconds } = await peer.request<{ seconds: number[] }>({ do: 'time', ...request, count: quick ? 3 : 6 });
      const middle = median(seconds.slice(1));
      log(
        `  peer ${variant}: ${(1000 * middle).toFixed(0)} ms (ready and timed after ${((performance.now() - start) / 1000).toFixed(0)} s)`,
      );
      if (best === undefined || middle < best.seconds) best = { variant, seconds: middle };
    } catch (error) {
      log(`  peer ${variant} failed: ${(error as Error).message.split('\n')[0]}`);
    }
    await peer.request({ do: 'release', ...request });
  }
  if (best === undefined) throw new BenchmarkError(`No variant of the peer ran: ${variants.join(', ')}.`);
  return best.variant;
}

/**
 * Variants of the peer's DiT-MoE that are worth trying.
 * @param compiled which forms: eager ones (`false`), compiled ones (`true`) or both
 */
export async function ditVariants(
  peer: Peer,
  request: { workload: string; precision: string },
  compiled: readonly boolean[],
  quick: boolean,
): Promise<string[]> {
  const all: string[] = [];
  for (const form of compiled)
    all.push(...(await peer.request<{ variants: string[] }>({ do: 'variants', ...request, compiled: form, quick })).variants);
  return all;
}
