/**
 * TensorFlow's own profiler (`tsl::ProfilerSession`): what ran when on which thread and stream, from the moment it is started.
 *
 * The C API has nothing for it, so it is called by the C++ names that the library exports, as compilers on Linux and macOS make them. They
 * belong to the release that is pinned; another library is refused. Objects of C++ live in memory of ours that is larger than any of them.
 */
import path from 'node:path';
import { DitMoeError } from '../errors.js';
import { integerField, joined } from '../io/protobuf.js';
import { tensorFlowBackend } from '../tensorflow-backend.js';
import type { TensorFlowNodeBackend } from './backend.js';
import type { Pointer } from './c-api.js';
import { TENSORFLOW_VERSION } from './library/index.js';

/** The library that runs has no profiler that this version knows. */
export class ProfilerError extends DitMoeError {
  static override readonly code = 'E_PROFILER';
}

/** Larger than a `ProfileOptions`, an `XSpace`, a `unique_ptr`, a `Status`. */
const OBJECT_BYTES = 4096;
/** A profile that is larger is refused: some hundred steps of the largest models. */
const MAX_BYTES = 2 ** 30;
const OK = 1n;

/** Version 1 of the options; ops and what is expensive in them on the host; the device. */
const OPTIONS = joined(integerField(5, 1), integerField(2, 2), integerField(3, 1));

const P = 'uintptr_t';
const names = {
  newOptions: ['_ZN10tensorflow14ProfileOptionsC1EPN6google8protobuf5ArenaE', 'void', [P, P]],
  newSpace: ['_ZN10tensorflow8profiler6XSpaceC1EPN6google8protobuf5ArenaE', 'void', [P, P]],
  deleteSpace: ['_ZN10tensorflow8profiler6XSpaceD1Ev', 'void', [P]],
  parse: ['_ZN6google8protobuf11MessageLite14ParseFromArrayEPKvi', 'bool', [P, 'void *', 'int']],
  serialize: ['_ZNK6google8protobuf11MessageLite16SerializeToArrayEPvi', 'bool', [P, 'void *', 'int']],
  create: ['_ZN3tsl15ProfilerSession6CreateERKN10tensorflow14ProfileOptionsE', P, [P, P]],
  collect: ['_ZN3tsl15ProfilerSession11CollectDataEPN10tensorflow8profiler6XSpaceE', P, [P, P, P]],
  end: ['_ZN3tsl15ProfilerSessionD1Ev', 'void', [P]],
} as const;
type Functions = Record<keyof typeof names, (...args: unknown[]) => unknown> & {
  calloc: (count: number, bytes: number) => Pointer;
  free: (at: Pointer) => void;
  /** The eight bytes there. */
  word: (at: Pointer) => bigint;
};

/** A profile that is being made. */
export interface Profile {
  /** Ends it and gives what was seen, as TensorFlow's `XSpace` message. */
  stop(): Uint8Array;
}

/**
 * Starts a profile of everything that the runtime does from now on. One at a time.
 * @throws ProfilerError if another release of TensorFlow runs, or none
 */
export async function startProfile(): Promise<Profile> {
  const backend = tensorFlowBackend() as unknown as TensorFlowNodeBackend | undefined;
  const version = backend?.computes.version;
  if (backend === undefined || version !== TENSORFLOW_VERSION)
    throw new ProfilerError(`Only TensorFlow ${TENSORFLOW_VERSION} can be profiled, and ${version ?? 'none'} runs.`, {
      ...{ expected: TENSORFLOW_VERSION, found: version },
    });
  const functions = await load(backend.libraryDirectory);
  const { calloc, free } = functions;
  const made: Pointer[] = [];
  const object = (): Pointer => {
    made.push(calloc(1, OBJECT_BYTES));
    return made.at(-1)!;
  };
  const [options, holder] = [object(), object()];
  functions.newOptions(options, 0);
  functions.parse(options, OPTIONS, OPTIONS.length);
  functions.create(holder, options);
  const session = Number(functions.word(holder));
  return {
    stop() {
      const [space, status] = [object(), object()];
      functions.newSpace(space, 0);
      functions.collect(status, session, space);
      try {
        if (functions.word(status) !== OK)
          throw new ProfilerError('TensorFlow could not end the profile; another one may run in this process.');
        return serialized(functions, space);
      } finally {
        functions.end(session);
        functions.deleteSpace(space);
        for (const at of made) free(at);
      }
    },
  };
}

function serialized({ serialize }: Functions, space: Pointer): Uint8Array {
  for (let size = 2 ** 22; size <= MAX_BYTES; size *= 4) {
    const bytes = new Uint8Array(size);
    if (serialize(space, bytes, size) === true) return bytes.subarray(0, messageEnd(bytes));
  }
  throw new ProfilerError(`The profile is larger than ${MAX_BYTES / 2 ** 20} MiB: profile fewer steps.`);
}

/** Where a message ends that zeros follow: every field of an `XSpace` has a length, and no tag is zero. */
function messageEnd(bytes: Uint8Array): number {
  let at = 0;
  while (at < bytes.length && bytes[at] !== 0) {
    let [length, factor] = [0, 1];
    do {
      at++;
      length += (bytes[at] & 0x7f) * factor;
      factor *= 0x80;
    } while (bytes[at] >= 0x80);
    at += 1 + length;
  }
  return at;
}

let loaded: Functions | undefined;

async function load(directory: string): Promise<Functions> {
  if (loaded !== undefined) return loaded;
  // koffi is an optional package, which whoever runs TensorFlow has.
  const [{ default: koffi }, { memoryView }] = await Promise.all([import('koffi'), import('./c-api.js')]);
  const file = process.platform === 'darwin' ? 'libtensorflow_framework.2.dylib' : 'libtensorflow_framework.so.2';
  try {
    const library = koffi.load(path.join(directory, file), { global: true, lazy: true });
    const system = koffi.load(process.platform === 'darwin' ? 'libSystem.dylib' : 'libc.so.6');
    loaded = {
      ...Object.fromEntries(Object.entries(names).map(([name, [symbol, result, args]]) => [name, library.func(symbol, result, [...args])])),
      calloc: system.func('calloc', P, ['size_t', 'size_t']),
      free: system.func('free', 'void', [P]),
      word: (at: Pointer) => new DataView(memoryView(at, 8).slice().buffer).getBigUint64(0, true),
    } as unknown as Functions;
    return loaded;
  } catch (cause) {
    throw new ProfilerError(`${path.join(directory, file)} exports no profiler: ${(cause as Error).message}`, { cause });
  }
}
