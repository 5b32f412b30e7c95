import { DitMoeError } from './errors.js';
import { installCommand } from './install-command.js';

/** A package that only some functions need, and that therefore nobody is made to install, is not there. */
export class MissingPackageError extends DitMoeError {
  static override readonly code = 'E_MISSING_PACKAGE';
  constructor(packageName: string, what: string, details: ErrorOptions = {}) {
    super(`The package "${packageName}", which ${what}, is not installed.`, {
      ...details,
      where: packageName,
      hint: `To install it: ${installCommand(packageName)}`,
    });
  }
}

/**
 * Loads an optional peer dependency.
 * @param what the package does here, as the end of "which ..."
 * @param load the import, written out at the caller so that bundlers see it
 * @throws MissingPackageError if it is not installed; other errors of `load` as they are
 */
export async function optionalPackage<T>(packageName: string, what: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ERR_MODULE_NOT_FOUND' && message.includes(`'${packageName}'`))
      throw new MissingPackageError(packageName, what, { cause });
    throw cause;
  }
}
