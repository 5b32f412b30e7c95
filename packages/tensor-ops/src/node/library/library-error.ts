import { DitMoeError } from '../../errors.js';

/** What went wrong with libtensorflow: an unusable folder, nothing found, a failed download, no program for it, a damaged file, no disk space. */
export type LibraryErrorCode =
  | 'E_LIBRARY_DIRECTORY'
  | 'E_LIBRARY_NOT_FOUND'
  | 'E_LIBRARY_PLATFORM'
  | 'E_LIBRARY_DOWNLOAD'
  | 'E_LIBRARY_NO_CLIENT'
  | 'E_LIBRARY_DAMAGED'
  | 'E_LIBRARY_DISK';

/** libtensorflow could not be found, fetched or unpacked; the message ends with what to do. */
export class LibraryError extends DitMoeError {
  static override readonly code = 'E_LIBRARY';
  /**
   * @param options `directory`: of the library, if there is one
   */
  constructor(code: LibraryErrorCode, message: string, options?: ErrorOptions & { directory?: string }) {
    super(message, { ...options, code });
    this.directory = options?.directory;
  }

  readonly directory: string | undefined;
}
