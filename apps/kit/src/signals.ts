/** Signals and closed pipes as an orderly end. */
import os from 'node:os';
import { signalExitCode } from './exit-codes.js';

/** What ends work in an orderly way: Ctrl-C, schedulers and `kill`, a closed terminal, Slurm's warning before its time limit. */
const endings = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1'] as const;
type Ending = (typeof endings)[number];

export interface Interruption {
  /** Aborted by the first signal, and when nobody reads the output any more. */
  readonly signal: AbortSignal;
  /** Stops listening. */
  release(): void;
}

/** Called for a broken output pipe; without somebody who listens the process ends as SIGPIPE would have ended it. */
const pipeListeners = new Set<() => void>();

/** Ends the process quietly when the reader of its output has gone (`| head`), instead of with a stack. Called once, by `main`. */
export function watchPipes(): void {
  const broken = new Set<NodeJS.WriteStream>();
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
      if (broken.has(stream)) return;
      broken.add(stream);
      if (pipeListeners.size === 0) process.exit(signalExitCode(os.constants.signals.SIGPIPE));
      for (const listener of pipeListeners) listener();
    });
}

/**
 * Listens for signals until `release`.
 *
 * The first one aborts; a second one ends the process at once, with the code of that signal, because then nothing more is saved.
 * @param onFirst says what happens now
 */
export function interruption(onFirst: (cause: string) => void): Interruption {
  const stop = new AbortController();
  const listeners = endings.map((name) => [name, (): void => (stop.signal.aborted ? endBy(name) : first(name))] as const);
  const onPipe = (): void => first('the output was closed');
  function first(cause: string): void {
    if (stop.signal.aborted) return;
    stop.abort(cause);
    onFirst(cause);
  }
  for (const [name, listener] of listeners) process.on(name, listener);
  pipeListeners.add(onPipe);
  return {
    signal: stop.signal,
    release() {
      for (const [name, listener] of listeners) process.off(name, listener);
      pipeListeners.delete(onPipe);
    },
  };
}

/** Code of a process that a cause of {@link Interruption} has ended before anything was saved. */
export const interruptionExitCode = (cause: string): number =>
  signalExitCode(os.constants.signals[cause as NodeJS.Signals] ?? os.constants.signals.SIGPIPE);

/**
 * Work that is whole or not done: a signal ends it where it looks at its `signal`, so that it can remove what is half written.
 * @returns its exit code, or that of the signal
 */
export async function untilInterrupted(work: (signal: AbortSignal) => Promise<number>): Promise<number> {
  const stop = interruption((cause) => console.error(`${cause}: ending; nothing is written.`));
  try {
    return await work(stop.signal);
  } catch (error) {
    if (!stop.signal.aborted || error !== stop.signal.reason) throw error;
    return interruptionExitCode(stop.signal.reason);
  } finally {
    stop.release();
  }
}

function endBy(name: Ending): never {
  process.exit(signalExitCode(os.constants.signals[name]));
}

/**
 * Waits for a signal that ends the process.
 * @param ready says that the process is there; who reads it may send a signal
 */
export async function untilSignal(ready: () => void): Promise<void> {
  let release: (() => void) | undefined;
  await new Promise<void>((resolve) => {
    release = interruption(() => resolve()).release;
    ready();
  });
  release!();
}
