import { DitMoeError } from '../../errors.js';

/** What went wrong with libtensorflow: an unusable folder, nothing found, a failed download, a damaged file, no disk space. */
export type LibraryErrorCode =
  | 'E_LIBRARY_DIRECTORY'
  | 'E_LIBRARY_NOT_FOUND'
  | 'E_LIBRARY_PLATFORM'
  | 'E_LIBRARY_DOWNLOAD'
  | 'E_LIBRARY_DAMAGED'
  | 'E_LIBRARY_DISK';

/** libtensorflow could not be found, fetched or unpacked; the message ends with what to do. */
export class LibraryError extends DitMoeError {
  static override readonly code = 'E_LIBRARY';
  constructor(code: LibraryErrorCode, message: string, options?: ErrorOptions) {
    super(message, { ...options, code });
  }
}
