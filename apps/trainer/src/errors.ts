/** Errors of the trainer, and the exit code that each error means. */
import { commonExitCodes, type ExitCodeTable, exitCodes, ModelError } from '@dit-moe/kit';
import { DitMoeError } from '@dit-moe/tensor-ops/errors';

/** A checkpoint cannot be used. */
export class CheckpointError extends ModelError {
  static override readonly code = 'E_CHECKPOINT';
}

/** Training gives no finite gradients any more. */
export class DivergedError extends DitMoeError {
  static override readonly code = 'E_DIVERGED';
}

/** A training of a study has ended without a result. */
export class TrainingFailedError extends DitMoeError {
  static override readonly code = 'E_TRAINING_FAILED';
}

/** A signal has ended a run before its first step: there was nothing to save that was not saved already. */
export class InterruptedError extends DitMoeError {
  static override readonly code = 'E_INTERRUPTED';
  /** @param saved whether the run has a checkpoint from before, to go on from */
  constructor(readonly saved: boolean) {
    super(saved ? 'Interrupted before the next step; the run is as it was.' : 'Interrupted before the first step: nothing is saved yet.', {
      hint: saved ? 'Go on with --resume.' : 'Start again with --resume.',
    });
  }
}

/** Which exit code each error means; one that is not in it is a defect. */
export const exitCodeTable: ExitCodeTable = {
  ...commonExitCodes,
  E_CHECKPOINT: exitCodes.model,
  E_DIVERGED: exitCodes.diverged,
  E_TRAINING_FAILED: exitCodes.peer,
  E_OUT_OF_MEMORY: exitCodes.backend,
  E_PROFILER: exitCodes.backend,
};
