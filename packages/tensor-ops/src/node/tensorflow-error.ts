/** Errors that TensorFlow reports. */
import { DitMoeError } from '../errors.js';

/** Names of TensorFlow's status codes (absl::StatusCode). */
const codes = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
];

/** A TensorFlow call failed: `status` is TensorFlow's code, the message names the op, its attributes and input shapes. */
export class TensorFlowError extends DitMoeError {
  static override readonly code = 'E_TENSORFLOW';
  /** TensorFlow's status code, such as `INVALID_ARGUMENT`. */
  readonly status: string;
  /** Name of the op or C function. */
  readonly operation: string;

  constructor(operation: string, status: number, message: string, detail = '') {
    const name = codes[status] ?? `code ${status}`;
    super(`${operation}: ${message} [${name}]${detail === '' ? '' : ` (${detail})`}`);
    this.status = name;
    this.operation = operation;
  }
}

/** The runtime cannot be started in this process as it is asked for. */
export class RuntimeStartError extends DitMoeError {
  static override readonly code = 'E_RUNTIME_START';
}

/** The runtime was shut down: what was made on it (tensors, parameters, compiled steps) is gone. */
export class RuntimeStoppedError extends DitMoeError {
  static override readonly code = 'E_RUNTIME_STOPPED';
  constructor() {
    super(
      'The TensorFlow runtime was shut down, and its tensors, parameters and compiled steps with it. Start it again with useTensorFlow() and make them anew.',
    );
  }
}
