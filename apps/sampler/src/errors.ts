/** Errors of the sampler, each with the exit code of the process that it ends. */
import { DitMoeError } from '@dit-moe/tensor-ops';

/** Exit codes of `dit-moe-sampler`; also listed in `--help`. */
export const exitCodes = { ok: 0, failure: 1, usage: 2, output: 4, backend: 5, model: 6, evaluation: 7 } as const;

/** An error that says which exit code it means. */
export abstract class SamplerError extends DitMoeError {
  abstract readonly exitCode: number;
}

/** The command line asks for something impossible. */
export class UsageError extends SamplerError {
  readonly exitCode = exitCodes.usage;
  constructor(message: string) {
    super('E_USAGE', message);
  }
}

/** The result cannot be written. */
export class OutputError extends SamplerError {
  readonly exitCode = exitCodes.output;
  constructor(message: string, options?: ErrorOptions) {
    super('E_OUTPUT', message, options);
  }
}

/** The model is missing, damaged or of another kind. */
export class ModelError extends SamplerError {
  readonly exitCode = exitCodes.model;
  constructor(message: string, options?: ErrorOptions) {
    super('E_MODEL', message, options);
  }
}

/** Images, statistics or a network's weights cannot be used for an evaluation. */
export class EvaluationError extends SamplerError {
  readonly exitCode = exitCodes.evaluation;
  constructor(message: string, options?: ErrorOptions) {
    super('E_EVALUATION', message, options);
  }
}
