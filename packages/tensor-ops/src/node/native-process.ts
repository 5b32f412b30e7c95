/** Services of the C library: around loading libtensorflow, signals (Linux and macOS). */
import os from 'node:os';
import koffi from 'koffi';

const darwin = process.platform === 'darwin';
const RTLD_LAZY = 1;
const RTLD_NOLOAD = darwin ? 0x10 : 4;
const RTLD_NODELETE = darwin ? 0x80 : 0x1000;
const STDERR = 2;
const O_WRONLY = 1;

/** Keeps a loaded library in the process until it ends: TensorFlow's destructors crash when koffi unloads it at exit. */
export function keepLoaded(path: string): void {
  koffi.load(null).func('dlopen', 'uintptr_t', ['str', 'int'])(path, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

/**
 * Runs `work` with stderr discarded. TensorFlow 2.21 prints two informational lines from a static initialiser, before any
 * setting could silence it; what goes wrong while loading comes as an exception, not on stderr.
 */
export function withoutStderr<T>(work: () => T): T {
  const c = koffi.load(null);
  const dup2 = c.func('dup2', 'int', ['int', 'int']);
  const close = c.func('close', 'int', ['int']);
  const saved = c.func('dup', 'int', ['int'])(STDERR);
  const nothing = c.func('open', 'int', ['str', 'int'])('/dev/null', O_WRONLY);
  dup2(nothing, STDERR);
  close(nothing);
  try {
    return work();
  } finally {
    dup2(saved, STDERR);
    close(saved);
  }
}

const SIG_SETMASK = 2;
/** Bytes of glibc's and musl's `sigset_t`. */
const SIGNAL_SET = 128;
/** Signals that say where a fault is, of which no process goes on. */
const faults = ['SIGILL', 'SIGTRAP', 'SIGABRT', 'SIGBUS', 'SIGFPE', 'SIGSEGV'] as const;

let hold: (<T>(work: () => T) => T) | undefined;

/**
 * Runs `work`, a float32 product of TensorFlow on this thread, while signals to the thread wait.
 *
 * oneDNN's products for AVX-512 keep their stack pointer in a buffer on the heap when the inner dimension is large, so that a signal handler
 * (of Ctrl-C, of a terminal that is resized, of a sampling profiler) would write over what lies before the buffer. It concerns Linux on x64.
 */
export function withoutSignals<T>(work: () => T): T {
  hold ??= process.platform === 'linux' && process.arch === 'x64' ? signalHolder() : (concerned) => concerned();
  return hold(work);
}

function signalHolder(): NonNullable<typeof hold> {
  const setMask = koffi.load(null).func('pthread_sigmask', 'int', ['int', 'void *', 'void *']);
  const held = new Uint8Array(SIGNAL_SET).fill(0xff);
  for (const name of faults) {
    const bit = os.constants.signals[name] - 1;
    held[bit >> 3] &= ~(1 << (bit & 7));
  }
  return (work) => {
    const before = new Uint8Array(SIGNAL_SET);
    setMask(SIG_SETMASK, held, before);
    try {
      return work();
    } finally {
      setMask(SIG_SETMASK, before, null);
    }
  };
}
