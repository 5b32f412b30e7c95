/**
 * Errors of the tensor-ops package: one class per kind, each with a stable `code`. `isInstance` works across package copies.
 */
const marker = Symbol.for('@dit-moe/error');

/** Base of every error that the DiT-MoE packages throw on purpose; `code` is stable, the message says what to do next. */
export class DitMoeError extends Error {
  readonly code: string;
  readonly [marker] = true;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }

  /** Whether `error` is a DiT-MoE error, also when it was thrown by another copy of the package. */
  static isInstance(error: unknown): error is DitMoeError {
    return typeof error === 'object' && error !== null && marker in error;
  }
}

/** A tensor does not have the shape that an operation needs. */
export class ShapeError extends DitMoeError {
  constructor(operation: string, expected: string, found: readonly number[] | string) {
    super('E_SHAPE', `${operation}: expected ${expected}, found ${typeof found === 'string' ? found : `[${found.join(', ')}]`}.`);
  }
}

/** An argument or option has a value outside of what is documented. */
export class ArgumentError extends DitMoeError {
  constructor(where: string, expected: string, found: unknown) {
    super('E_ARGUMENT', `${where}: expected ${expected}, found ${typeof found === 'string' ? JSON.stringify(found) : String(found)}.`);
  }
}

/** A host read (`dataSync`, `data`, `tf.gather`'s index check, ...) happened while a step was being recorded. */
export class HostReadError extends DitMoeError {
  constructor(detail: string) {
    super(
      'E_HOST_READ',
      `A tensor was read to the host while a compiled step was being recorded (${detail}). A compiled step may only use tensor ` +
        'operations: return the tensor and read it after the step, or use gatherRows instead of tf.gather.',
    );
  }
}
