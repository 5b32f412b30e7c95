/** Which of a peer's variants is the fastest here: the one to be compared with. */
import type { BenchmarkOptions } from './benchmark.js';
import { BenchmarkError } from './benchmark.js';
import { median } from './measure.js';
import type { Peer } from './peer.js';

/**
 * Times each variant alone; those that fail are reported and passed over. In a quick run those that compile are not tried.
 * @param request what the peer prepares, without the variant
 * @throws BenchmarkError if none runs
 */
export async function fastestVariant(
  peer: Peer,
  request: { workload: string; precision: string } & Record<string, unknown>,
  { quick, log }: BenchmarkOptions,
): Promise<string> {
  let best: { variant: string; seconds: number } | undefined;
  for (const compiled of quick ? [false] : [false, true]) {
    const { variants } = await peer.request<{ variants: string[] }>({ do: 'variants', ...request, compiled, quick });
    for (const variant of variants) {
      try {
        await peer.request({ do: 'prepare', ...request, variant });
        const { seconds } = await peer.request<{ seconds: number[] }>({ do: 'time', count: 4 });
        const middle = median(seconds.slice(1));
        log(`  peer ${variant}: ${(1000 * middle).toFixed(0)} ms`);
        if (best === undefined || middle < best.seconds) best = { variant, seconds: middle };
      } catch (error) {
        log(`  peer ${variant} failed: ${(error as Error).message.split('\n')[0]}`);
      }
      await peer.request({ do: 'release' });
    }
  }
  if (best === undefined) throw new BenchmarkError(`No variant of the peer ran in ${request.precision}.`);
  return best.variant;
}
