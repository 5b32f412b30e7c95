/**
 * Errors of the trainer, each with the exit code of the process that it ends.
 */
import { DitMoeError } from '@dit-moe/tensor-ops';

/** Exit codes of `dit-moe-trainer`; also listed in the README and in `--help`. */
export const exitCodes = {
  /** Everything went well. */
  ok: 0,
  /** A defect: an error that nobody foresaw. */
  failure: 1,
  /** The command line is wrong: unknown flag, wrong type, value out of range. */
  usage: 2,
  /** The data folder is missing, unreadable, or has nothing to train on. */
  data: 3,
  /** The output folder is in use, not writable, or the disk is full. */
  output: 4,
  /** The backend asked for is not available. */
  backend: 5,
  /** A checkpoint is missing, damaged, or belongs to another configuration. */
  checkpoint: 6,
  /** Training diverged: no finite gradient even after rolling back. */
  diverged: 7,
  /** Interrupted by a signal after everything was saved (EX_TEMPFAIL: run again with `--resume`). */
  interrupted: 75,
} as const;

/** An error that says which exit code it means. */
export abstract class TrainerError extends DitMoeError {
  abstract readonly exitCode: number;
}

/** The command line asks for something impossible. */
export class UsageError extends TrainerError {
  static override readonly code = 'E_USAGE';
  readonly exitCode = exitCodes.usage;
  constructor(message: string) {
    super(message);
  }
}

/** The images cannot be used. */
export class DataError extends TrainerError {
  static override readonly code = 'E_DATA';
  readonly exitCode = exitCodes.data;
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** The run folder cannot be used. */
export class OutputError extends TrainerError {
  static override readonly code = 'E_OUTPUT';
  readonly exitCode = exitCodes.output;
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** A checkpoint cannot be used. */
export class CheckpointError extends TrainerError {
  static override readonly code = 'E_CHECKPOINT';
  readonly exitCode = exitCodes.checkpoint;
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** Training gives no finite gradients any more. */
export class DivergedError extends TrainerError {
  static override readonly code = 'E_DIVERGED';
  readonly exitCode = exitCodes.diverged;
  constructor(message: string) {
    super(message);
  }
}

const outputCodes: Record<string, string> = {
  ENOSPC: 'no space is left on the disk; free some, or choose another folder',
  EDQUOT: 'the disk quota is used up; free some space, or choose another folder',
  EFBIG: 'the file exceeds the size limit of this process; raise it (ulimit -f), or choose another folder',
  EIO: 'the disk reports an error; check it, or choose another folder',
  ESTALE: 'the network file system has lost the folder; mount it again, or choose another folder',
  EACCES: 'permission denied; choose a folder that you may write to',
  EPERM: 'permission denied; choose a folder that you may write to',
  EROFS: 'the file system is read-only; choose another folder',
  ENOTDIR: 'a part of the path is a file; choose another folder',
  EEXIST: 'a file is in the way; choose another folder',
};

/** Turns a failed write to `target` into an {@link OutputError}; errors that are not about the file system pass through. */
export function outputError(error: unknown, target: string): unknown {
  const reason = outputCodes[(error as NodeJS.ErrnoException).code ?? ''];
  return reason === undefined ? error : new OutputError(`Cannot write ${target}: ${reason}.`, { cause: error });
}
