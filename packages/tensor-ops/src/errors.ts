/**
 * The error contract of all packages, and the errors of this one: one class per kind with a stable `code`, facts as fields beside
 * the sentence, and `isInstance`, which works across copies of a package (`instanceof` does not).
 */
const kinds = Symbol.for('@dit-moe/error');

/** The facts of an error, for programs; the message says them in a sentence. */
export interface ErrorDetails extends ErrorOptions {
  /** What the error is about: a file, a tensor's name, a byte offset, the path of a setting. */
  where?: string;
  /** What would have been right. */
  expected?: string;
  /** What was there instead. */
  found?: unknown;
  /** The next thing to try; it ends the message. */
  hint?: string;
  /** A code finer than that of the class. */
  code?: string;
}

/**
 * Base of every error that the DiT-MoE packages throw on purpose.
 *
 * A class of errors declares a `code` of its own: by it {@link isInstance} knows the class, and applications choose what to do.
 */
export class DitMoeError extends Error {
  /** Stable word for this class of errors; no two classes share one. */
  static readonly code: string = 'E_DIT_MOE';

  /** Stable word for what went wrong: the code of the class, or a finer one. */
  readonly code: string;
  readonly where: string | undefined;
  readonly expected: string | undefined;
  readonly found: unknown;
  readonly hint: string | undefined;
  /** Codes of the class and of all its bases. */
  readonly [kinds]: readonly string[];

  constructor(message: string, details: ErrorDetails = {}) {
    const { where, expected, found, hint, code, ...options } = details;
    // Behind what another program said, in lines of its own.
    super(hint === undefined ? message : `${message}${message.includes('\n') ? '\n' : ' '}${hint}`, options);
    this.name = new.target.name;
    this.code = code ?? new.target.code;
    this.where = where;
    this.expected = expected;
    this.found = found;
    this.hint = hint;
    const chain: string[] = [];
    for (let kind: typeof DitMoeError = new.target; kind.code !== undefined; kind = Object.getPrototypeOf(kind)) chain.push(kind.code);
    this[kinds] = chain;
  }

  /** Whether `error` is of this class, or of one derived from it, also when another copy of the package threw it. */
  static isInstance<E extends DitMoeError>(this: ErrorClass<E>, error: unknown): error is E {
    const chain = (error as Partial<DitMoeError> | null | undefined)?.[kinds];
    // biome-ignore lint/complexity/noThisInStatic: every class inherits this, and its own code is meant
    return Array.isArray(chain) && chain.includes(this.code);
  }
}

/** A class of errors, whatever its constructor takes. */
interface ErrorClass<E extends DitMoeError> {
  readonly code: string;
  readonly prototype: E;
}

/** A tensor does not have the shape that an operation needs. */
export class ShapeError extends DitMoeError {
  static override readonly code = 'E_SHAPE';
  constructor(operation: string, expected: string, found: readonly number[] | string) {
    super(`${operation}: expected ${expected}, found ${typeof found === 'string' ? found : `[${found.join(', ')}]`}.`, {
      where: operation,
      expected,
      found,
    });
  }
}

/** An argument or option has a value outside of what is documented. */
export class ArgumentError extends DitMoeError {
  static override readonly code = 'E_ARGUMENT';
  constructor(where: string, expected: string, found: unknown, details: Pick<ErrorDetails, 'hint' | 'cause'> = {}) {
    super(`${where}: expected ${expected}, found ${typeof found === 'string' ? JSON.stringify(found) : String(found)}.`, {
      ...details,
      where,
      expected,
      found,
    });
  }
}

/** A compiled step does something that a recorded step cannot hold. */
export class RecordingError extends DitMoeError {
  static override readonly code = 'E_RECORDING';
}

/** A host read (`dataSync`, `data`, `tf.gather`'s index check, ...) happened while a step was being recorded. */
export class HostReadError extends DitMoeError {
  static override readonly code = 'E_HOST_READ';
  constructor(detail: string) {
    super(
      `A tensor was read to the host while a compiled step was being recorded (${detail}). A compiled step may only use tensor ` +
        'operations: return the tensor and read it after the step, or use gatherRows instead of tf.gather.',
    );
  }
}
