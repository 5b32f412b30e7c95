/**
 * The functions of TensorFlow's C API that the runtime uses, bound with koffi.
 *
 * Pointers are plain addresses; nothing here owns memory. Signatures follow tensorflow/c/{c_api,tf_tensor,tf_status}.h
 * and tensorflow/c/eager/{c_api,c_api_experimental}.h of TensorFlow 2.21.
 */
import fs from 'node:fs';
import path from 'node:path';
import koffi from 'koffi';
import { elfProblem } from './elf.js';
import { librariesBefore } from './library/cuda.js';
import { LibraryLoadError } from './library-load-error.js';
import { keepLoaded, withoutStderr } from './native-process.js';
import { RuntimeStartError } from './tensorflow-error.js';

/** An address in this process; 0 is NULL. User-space addresses have 47 bits, so a number holds them exactly. */
export type Pointer = number;

/** koffi runs native code on stacks of its own; TensorFlow's kernels need far more than the default 128 KiB. */
const STACK_BYTES = 16 << 20;

const P = 'uintptr_t';

/** `TF_Output`, passed by value: one output of an operation in a graph. */
export interface GraphOutput {
  oper: Pointer;
  index: number;
}
// Without a name: names are known process-wide, and a second copy of this package would declare it again.
const outputStruct = koffi.struct({ oper: 'uintptr_t', index: 'int' });

/** Arguments and result of each function; the name of the C function is the key. */
const signatures = {
  TF_Version: ['str', []],
  TF_NewStatus: [P, []],
  TF_DeleteStatus: ['void', [P]],
  TF_SetStatus: ['void', [P, 'int', 'str']],
  TF_GetCode: ['int', [P]],
  TF_Message: ['str', [P]],
  TF_NewBuffer: [P, []],
  TF_DeleteBuffer: ['void', [P]],
  TF_AllocateTensor: [P, ['int', 'void *', 'int', 'size_t']],
  TF_NewTensor: [P, ['int', 'void *', 'int', P, 'size_t', P, P]],
  TF_DeleteTensor: ['void', [P]],
  TF_TensorData: [P, [P]],
  TF_TensorByteSize: ['size_t', [P]],
  TF_TensorType: ['int', [P]],
  TFE_NewContextOptions: [P, []],
  TFE_ContextOptionsSetConfig: ['void', [P, 'void *', 'size_t', P]],
  TFE_DeleteContextOptions: ['void', [P]],
  TFE_NewContext: [P, [P, P]],
  TFE_DeleteContext: ['void', [P]],
  TFE_ContextListDevices: [P, [P, P]],
  TF_DeviceListCount: ['int', [P]],
  TF_DeviceListName: ['str', [P, 'int', P]],
  TF_DeviceListType: ['str', [P, 'int', P]],
  TF_DeviceListMemoryBytes: ['int64', [P, 'int', P]],
  TF_DeleteDeviceList: ['void', [P]],
  TFE_NewTensorHandle: [P, [P, P]],
  TFE_DeleteTensorHandle: ['void', [P]],
  TFE_TensorHandleDataType: ['int', [P]],
  TFE_TensorHandleNumDims: ['int', [P, P]],
  TFE_TensorHandleDim: ['int64', [P, 'int', P]],
  TFE_TensorHandleResolve: [P, [P, P]],
  TFE_TensorHandleCopyToDevice: [P, [P, P, 'str', P]],
  TFE_TensorHandleCopySharingTensor: [P, [P, P]],
  TFE_NewOp: [P, [P, 'str', P]],
  TFE_DeleteOp: ['void', [P]],
  TFE_OpAddInput: ['void', [P, P, P]],
  TFE_OpSetDevice: ['void', [P, 'str', P]],
  TFE_OpSetAttrType: ['void', [P, 'str', 'int']],
  TFE_OpSetAttrInt: ['void', [P, 'str', 'int64']],
  TFE_OpSetAttrFloat: ['void', [P, 'str', 'float']],
  TFE_OpSetAttrBool: ['void', [P, 'str', 'uint8']],
  TFE_OpSetAttrString: ['void', [P, 'str', 'void *', 'size_t']],
  TFE_OpSetAttrShape: ['void', [P, 'str', 'void *', 'int', P]],
  TFE_OpSetAttrIntList: ['void', [P, 'str', 'void *', 'int']],
  TFE_OpSetAttrValueProto: ['void', [P, 'str', 'void *', 'size_t', P]],
  TFE_Execute: ['void', [P, 'void *', 'void *', P]],
  TFE_ContextAddFunction: ['void', [P, P, P]],
  TFE_ContextRemoveFunction: ['void', [P, 'str', P]],
  TF_NewGraph: [P, []],
  TF_DeleteGraph: ['void', [P]],
  TF_NewOperation: [P, [P, 'str', 'str']],
  TF_AddInput: ['void', [P, 'TF_Output']],
  TF_AddInputList: ['void', [P, 'void *', 'int']],
  TF_AddControlInput: ['void', [P, P]],
  TF_SetAttrValueProto: ['void', [P, 'str', 'void *', 'size_t', P]],
  TF_FinishOperation: [P, [P, P]],
  TF_GraphGetOpDef: ['void', [P, 'str', P, P]],
  TF_OperationOutputType: ['int', ['TF_Output']],
  TF_GraphGetTensorNumDims: ['int', [P, 'TF_Output', P]],
  TF_GraphGetTensorShape: ['void', [P, 'TF_Output', 'void *', 'int', P]],
  TF_GraphSetTensorShape: ['void', [P, 'TF_Output', 'void *', 'int', P]],
  TF_GraphToFunctionWithControlOutputs: [
    P,
    [P, 'str', 'uint8', 'int', P, 'int', 'void *', 'int', 'void *', P, 'int', 'void *', P, P, 'str', P],
  ],
  TF_FunctionSetAttrValueProto: ['void', [P, 'str', 'void *', 'size_t', P]],
  TF_DeleteFunction: ['void', [P]],
  TFE_EnableCollectiveOps: ['void', [P, 'void *', 'size_t', P]],
  TFE_AbortCollectiveOps: ['void', [P, P]],
  TFE_WaitAtBarrier: ['void', [P, 'str', 'int64', P]],
  TFE_ReportErrorToCluster: ['void', [P, 'int', 'str', P]],
  TFE_InsertConfigKeyValue: ['void', [P, 'str', 'str', P]],
  TFE_GetConfigKeyValue: ['void', [P, 'str', 'int64', P, P]],
  malloc: [P, ['size_t']],
} as const satisfies Record<string, readonly [string, readonly string[]]>;

type Result<T extends string> = T extends 'void' ? undefined : T extends 'str' ? string : T extends 'uintptr_t' ? Pointer : number;
type Argument<T extends string> = T extends 'str'
  ? string
  : T extends 'uintptr_t'
    ? Pointer
    : T extends 'TF_Output'
      ? GraphOutput
      : T extends 'void *'
        ? Pointer | NodeJS.ArrayBufferView | null
        : number;
type Arguments<A extends readonly string[]> = { -readonly [I in keyof A]: A[I] extends string ? Argument<A[I]> : never };

/** A C function: callable, and on a thread of the libuv pool by `async(...args, callback)`. */
type CFunction<R extends string, A extends readonly string[]> = ((...args: Arguments<A>) => Result<R>) & {
  async(...args: [...Arguments<A>, (error: Error | null, result: Result<R>) => void]): void;
};

/** The bound C API. */
export type CApi = { [K in keyof typeof signatures]: CFunction<(typeof signatures)[K][0], (typeof signatures)[K][1]> };

/** koffi takes the sizes only before it loads a library, whoever does that first in the process. */
export function enlargeStacks(): void {
  const sizes = { sync_stack_size: STACK_BYTES, async_stack_size: STACK_BYTES };
  const { sync_stack_size: sync, async_stack_size: async } = koffi.config() as typeof sizes;
  if (sync >= STACK_BYTES && async >= STACK_BYTES) return;
  try {
    koffi.config(sizes);
  } catch (cause) {
    throw new RuntimeStartError(
      `koffi was used in this process before, with stacks of ${Math.min(sync, async)} bytes, and cannot change them any more; TensorFlow needs ${STACK_BYTES}. Start the runtime before other libraries, or call koffi.config(${JSON.stringify(sizes)}) first.`,
      { cause },
    );
  }
}

const WRITABLE = { group: 0o020, others: 0o002 };
const STICKY = 0o1000;

/**
 * Who besides its owner may replace a file or what is in a folder. A group with its owner's number is his private one, as most systems
 * make it; in a sticky folder only owners replace their files.
 */
export function whoMayReplace({ mode, uid, gid }: Pick<fs.Stats, 'mode' | 'uid' | 'gid'>, isFolder: boolean): string | undefined {
  if (isFolder && (mode & STICKY) !== 0) return undefined;
  if ((mode & WRITABLE.others) !== 0) return 'everybody on this machine';
  return (mode & WRITABLE.group) !== 0 && gid !== uid ? `every member of the group ${gid}` : undefined;
}

/** Code that others than its owner could have replaced is not loaded. */
function refuseWritable(directory: string): void {
  if (process.platform === 'win32') return;
  for (const at of [directory, ...libraryNames.map((name) => path.join(directory, name))]) {
    const who = whoMayReplace(fs.statSync(at), at === directory);
    if (who === undefined) continue;
    const fix = `chmod ${at === directory ? '-R ' : ''}go-w ${at}`;
    throw new LibraryLoadError(directory, `${who} may change ${at}; if its content is what you put there: ${fix}`);
  }
}

const libraryNames =
  process.platform === 'darwin'
    ? ['libtensorflow_framework.2.dylib', 'libtensorflow_cc.2.dylib']
    : ['libtensorflow_framework.so.2', 'libtensorflow_cc.so.2'];

/**
 * Loads libtensorflow from `directory` and binds its functions.
 * @throws LibraryLoadError if a file is missing, damaged, or lacks a function
 * @throws RuntimeStartError if koffi has been used in this process with smaller stacks
 */
export function loadCApi(directory: string): CApi {
  enlargeStacks();
  for (const name of libraryNames) {
    const file = path.join(directory, name);
    if (!fs.existsSync(file)) throw new LibraryLoadError(directory, `${name} is missing`);
    const problem = process.platform === 'linux' ? elfProblem(file) : undefined;
    if (problem !== undefined) throw new LibraryLoadError(directory, `${name}: ${problem}`);
  }
  refuseWritable(directory);
  let libraries: ReturnType<typeof koffi.load>[];
  try {
    for (const file of librariesBefore(directory)) loadIfPossible(file);
    libraries = withoutStderr(() => libraryNames.map((name) => koffi.load(path.join(directory, name), { global: true, lazy: true })));
    for (const name of libraryNames) keepLoaded(path.join(directory, name));
  } catch (error) {
    throw new LibraryLoadError(directory, (error as Error).message, { cause: error });
  }
  const api: Record<string, unknown> = {};
  for (const [name, [result, args]] of Object.entries(signatures)) {
    let bound: unknown;
    for (const library of libraries) {
      try {
        bound = library.func(
          name,
          result,
          args.map((arg) => (arg === 'TF_Output' ? outputStruct : arg)),
        );
        break;
      } catch {
        // The function is in the other library.
      }
    }
    if (bound === undefined) throw new LibraryLoadError(directory, `it has no function ${name}`);
    api[name] = bound;
  }
  return api as CApi;
}

/** TensorFlow says itself what it misses, and computes on the processor. */
function loadIfPossible(file: string): void {
  try {
    koffi.load(file, { lazy: true });
    keepLoaded(file);
  } catch {
    // It needs another library that is missing.
  }
}

/** A view of `length` bytes of native memory; valid only as long as that memory is. */
export function memoryView(pointer: Pointer, length: number): Uint8Array {
  return new Uint8Array(koffi.view(pointer, length));
}

/** Copies the bytes of a `TF_Buffer` (struct: data pointer, length, deallocator). */
export function bufferBytes(buffer: Pointer): Uint8Array {
  const header = new DataView(memoryView(buffer, 16).slice().buffer);
  const length = Number(header.getBigUint64(8, true));
  return length === 0 ? new Uint8Array(0) : memoryView(Number(header.getBigUint64(0, true)), length).slice();
}
