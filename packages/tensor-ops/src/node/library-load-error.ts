import { DitMoeError } from '../errors.js';
import { repairOf } from './library/index.js';

/** libtensorflow exists but cannot be loaded or lacks functions. */
export class LibraryLoadError extends DitMoeError {
  static override readonly code = 'E_LIBRARY_LOAD';
  constructor(
    readonly directory: string,
    detail: string,
    options?: ErrorOptions,
  ) {
    super(
      `The TensorFlow library in ${directory} could not be loaded: ${detail}. To have it found or fetched anew: ${repairOf(directory)}`,
      options,
    );
  }
}
