/** Errors of the programs themselves; the packages have their own. Which exit code each means stands in `exit-code-table.ts`. */
import { DitMoeError } from '@dit-moe/tensor-ops/errors';

/** The command line or a configuration asks for something impossible. */
export class UsageError extends DitMoeError {
  static override readonly code: string = 'E_USAGE';
}

/** Images, latents or statistics cannot be used. */
export class DataError extends DitMoeError {
  static override readonly code: string = 'E_DATA';
}

/** The result cannot be written, or would replace something. */
export class OutputError extends DitMoeError {
  static override readonly code: string = 'E_OUTPUT';
}

/** A model or checkpoint is missing, damaged, or of another kind. */
export class ModelError extends DitMoeError {
  static override readonly code: string = 'E_MODEL';
}
