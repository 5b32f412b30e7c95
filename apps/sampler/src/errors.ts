/** Errors of the sampler, each with the exit code of the process that it ends. */
import { DitMoeError } from '@dit-moe/tensor-ops';

/** Exit codes of `dit-moe-sampler`; also listed in `--help`. */
export const exitCodes = { ok: 0, failure: 1, usage: 2, output: 4, backend: 5, model: 6, evaluation: 7 } as const;

/** Exit codes of the packages' errors. */
export const exitCodeOf: Readonly<Record<string, number>> = {
  E_ARGUMENT: exitCodes.usage,
  E_BACKEND: exitCodes.backend,
  ...Object.fromEntries(
    [
      'E_AUTOENCODER_MISMATCH',
      'E_AUTOENCODER_WEIGHTS',
      'E_FORBIDDEN_GLOBAL',
      'E_FORMAT',
      'E_HUB',
      'E_MODEL_MISMATCH',
      'E_NO_AUTOENCODER',
      'E_UNSUPPORTED_CHECKPOINT',
      'E_WEIGHTS_MISMATCH',
    ].map((code) => [code, exitCodes.model]),
  ),
};

/** An error that says which exit code it means. */
export abstract class SamplerError extends DitMoeError {
  abstract readonly exitCode: number;
}

/** The command line asks for something impossible. */
export class UsageError extends SamplerError {
  static override readonly code = 'E_USAGE';
  readonly exitCode = exitCodes.usage;
  constructor(message: string) {
    super(message);
  }
}

/** The result cannot be written. */
export class OutputError extends SamplerError {
  static override readonly code = 'E_OUTPUT';
  readonly exitCode = exitCodes.output;
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** The model is missing, damaged or of another kind. */
export class ModelError extends SamplerError {
  static override readonly code = 'E_MODEL';
  readonly exitCode = exitCodes.model;
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** Images, statistics or a network's weights cannot be used for an evaluation. */
export class EvaluationError extends SamplerError {
  static override readonly code = 'E_EVALUATION';
  readonly exitCode = exitCodes.evaluation;
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
  }
}
