/**
 * `compile(step)`: run a whole training or sampling step as one unit.
 *
 * On the TensorFlow runtime the step is recorded once per input signature and becomes one TensorFlow function, so the host
 * makes a single call per step. On every other backend the same object runs the step eagerly inside `tf.tidy`.
 */
import * as tf from '@tensorflow/tfjs-core';
import { ArgumentError } from './errors.js';
import { type BackendStep, tensorFlowBackend } from './tensorflow-backend.js';

/** Tensors that a step may return: one, a list, or a record of them. */
export type StepResult = tf.Tensor | tf.Tensor[] | { [name: string]: tf.Tensor };

/** Name and compiler of a step. */
export interface CompileOptions {
  /** Name in error messages and profiles (default: the function's name, else `step`). */
  name?: string;
  /** Compile with XLA where the TensorFlow runtime offers it (default false: slower on CPU and no data-dependent shapes). */
  xla?: boolean;
  /**
   * Let the TensorFlow runtime fuse ops of the step: sums go into the convolutions before them, `x sigmoid(x)` becomes one op
   * (default false). Made for inference.
   */
  rewrite?: boolean;
  /** Receives the warning when nearly every call has a new signature (default `console.warn`). */
  onWarning?: (message: string) => void;
}

/** A compiled step. Calls with equal shapes and dtypes reuse one recording. */
export interface CompiledStep<I extends tf.Tensor[], O extends StepResult> {
  /** Runs the step without blocking the event loop where the backend can; the caller owns the results. */
  run(...inputs: I): Promise<O>;
  /** Runs the step and returns when its results exist as tensors; the caller owns them. */
  runSync(...inputs: I): O;
  /** How many signatures have been recorded. */
  readonly traces: number;
  /** Frees the recorded functions; later calls throw. */
  dispose(): void;
}

/** Signatures recorded beyond this number while hardly any is reused are reported as a retracing caller. */
const RETRACE_WARNING_AFTER = 5;

/**
 * Compiles `step`, a function from tensors to tensors.
 *
 * Inside it only tensor operations are allowed (a host read throws {@link HostReadError}); tensors of the enclosing scope
 * become inputs, parameters are read and assigned in place, in program order.
 *
 * @throws Error if used after `dispose()`; ArgumentError for an input that was disposed
 */
export function compile<I extends tf.Tensor[], O extends StepResult>(
  step: (...inputs: I) => O,
  options: CompileOptions = {},
): CompiledStep<I, O> {
  const name = options.name ?? (step.name || 'step');
  const recorded = new Map<string, { step: BackendStep; pack: (outputs: tf.Tensor[]) => O }>();
  let calls = 0;
  let disposed = false;
  let warned = false;

  const prepare = (inputs: I) => {
    if (disposed) throw new Error(`compile: the step "${name}" was used after dispose().`);
    inputs.forEach((x, i) => {
      if (x.isDisposed)
        throw new ArgumentError(`${name}: input ${i}`, 'a tensor that was not disposed', `a disposed one of shape [${x.shape}]`);
    });
    const backend = tensorFlowBackend();
    if (backend === undefined || backend.recording) return undefined;
    calls++;
    const signature = inputs.map((x) => `${x.dtype}${backend.dtypeOf(x)}[${x.shape}]`).join();
    let entry = recorded.get(signature);
    if (entry === undefined) {
      let pack: ((outputs: tf.Tensor[]) => O) | undefined;
      const flat = (...xs: tf.Tensor[]): tf.Tensor[] => {
        const flattened = flatten(step(...(xs as I)));
        pack = flattened.pack as (outputs: tf.Tensor[]) => O;
        return flattened.tensors;
      };
      const compiled = backend.compileStep(flat, inputs, { name, xla: options.xla ?? false, rewrite: options.rewrite ?? false });
      entry = { step: compiled, pack: pack! };
      recorded.set(signature, entry);
      if (!warned && recorded.size > RETRACE_WARNING_AFTER && recorded.size * 2 > calls) {
        warned = true;
        (options.onWarning ?? console.warn)(
          `compile: the step "${name}" was recorded ${recorded.size} times in ${calls} calls because its input shapes keep changing. ` +
            'Recording is slow; pad the inputs to a few fixed shapes.',
        );
      }
    }
    return entry;
  };
  const eager = (inputs: I): O => tf.tidy(() => step(...inputs) as tf.TensorContainer) as unknown as O;

  return {
    async run(...inputs) {
      const entry = prepare(inputs);
      return entry === undefined ? eager(inputs) : entry.pack(await entry.step.run(inputs));
    },
    runSync(...inputs) {
      const entry = prepare(inputs);
      return entry === undefined ? eager(inputs) : entry.pack(entry.step.runSync(inputs));
    },
    get traces() {
      return recorded.size;
    },
    dispose() {
      disposed = true;
      for (const { step } of recorded.values()) step.dispose();
      recorded.clear();
    },
  };
}

function flatten(result: StepResult): { tensors: tf.Tensor[]; pack: (outputs: tf.Tensor[]) => StepResult } {
  if (result instanceof tf.Tensor) return { tensors: [result], pack: (outputs) => outputs[0] };
  if (Array.isArray(result)) return { tensors: result, pack: (outputs) => outputs };
  const names = Object.keys(result);
  return { tensors: names.map((n) => result[n]), pack: (outputs) => Object.fromEntries(names.map((n, i) => [n, outputs[i]])) };
}
