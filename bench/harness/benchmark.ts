/** What a benchmark is and what it gives. */
import { DitMoeError } from '@dit-moe/tensor-ops';

/** One line of a benchmark, as `--json` prints it. */
export interface BenchmarkResult {
  name: string;
  /** Our median. */
  value: number;
  unit: string;
  /** The peer's median in the same unit; null if there is no peer on this machine. */
  peer: number | null;
  /** Above 1 where we are better, whether more or less of the unit is good; null without a peer. */
  ratio: number | null;
}

export interface BenchmarkOptions {
  /** Fewer repetitions and no peer variants that compile for minutes. */
  quick: boolean;
  /** Run this section only, where the benchmark has sections. */
  only?: string;
  /** Receives one line per stage. */
  log(message: string): void;
}

/** What a file of `bench/` exports. */
export interface Benchmark {
  description: string;
  run(options: BenchmarkOptions): Promise<BenchmarkResult[]>;
}

/** The command line or the environment does not allow the benchmark asked for. */
export class BenchmarkError extends DitMoeError {
  static override readonly code = 'E_BENCHMARK';
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/**
 * A result with its ratio.
 * @param better whether more or less of the unit is good
 */
export function result(name: string, unit: string, better: 'more' | 'less', value: number, peer: number | null): BenchmarkResult {
  return { name, value, unit, peer, ratio: peer === null ? null : better === 'more' ? value / peer : peer / value };
}
