import { DitMoeError } from '@dit-moe/tensor-ops';

/** Features or statistics cannot be used for a metric: wrong shape, too few samples, values that are not finite. */
export class MetricError extends DitMoeError {
  static override readonly code = 'E_METRIC';
  constructor(metric: string, message: string) {
    super(`${metric}: ${message}`);
  }
}
