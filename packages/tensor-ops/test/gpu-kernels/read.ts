/**
 * Writes `gpu-kernels.json`: which ops of TensorFlow have kernels for GPUs, for which types, and which of their arguments lie in host
 * memory. Facts of TensorFlow's own registry, which its GPU build lists on a machine without a GPU.
 *
 *   pip download --no-deps --only-binary=:all: --platform manylinux_2_27_x86_64 --python-version 3.11 tensorflow==2.21.0
 *   unzip tensorflow-2.21.0-*.whl 'tensorflow/libtensorflow_*'
 *   tsx --conditions=@dit-moe/source packages/tensor-ops/test/gpu-kernels/read.ts tensorflow
 */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import koffi from 'koffi';
import { type ProtobufField, readFields } from '../../src/io/protobuf.js';
import type { GpuKernel, GpuKernels } from './gpu-kernels.js';

const directory = process.argv[2];
if (directory === undefined) throw new Error('Give the folder with libtensorflow_cc.so.2 of the GPU build.');
const STACK_BYTES = 16 << 20;
koffi.config({ sync_stack_size: STACK_BYTES, async_stack_size: STACK_BYTES });
const libraries = ['libtensorflow_framework.so.2', 'libtensorflow_cc.so.2'].map((name) =>
  koffi.load(path.join(path.resolve(directory), name), { global: true, lazy: true }),
);
function bind(name: string, result: string, args: string[]) {
  for (const library of libraries) {
    try {
      return library.func(name, result, args);
    } catch {
      // In the other one.
    }
  }
  throw new Error(`no function ${name}`);
}
const version: string = bind('TF_Version', 'str', [])();
const status = bind('TF_NewStatus', 'uintptr_t', [])();
const buffer: number = bind('TF_GetAllRegisteredKernels', 'uintptr_t', ['uintptr_t'])(status);
const view = (address: number, length: number) => new Uint8Array(koffi.view(address, length)).slice();
const header = new DataView(view(buffer, 16).buffer);
const bytes = view(Number(header.getBigUint64(0, true)), Number(header.getBigUint64(8, true)));

const fieldsOf = (within?: ProtobufField) => [...readFields(bytes, 'KernelList', within)];
const text = ({ start, end }: ProtobufField) => Buffer.from(bytes.subarray(start, end)).toString();
function packedVarints({ start, end }: ProtobufField): number[] {
  const values: number[] = [];
  for (let at = start, value = 0, shift = 0; at < end; at++) {
    value += (bytes[at] & 0x7f) * 2 ** shift;
    shift += 7;
    if (bytes[at] < 0x80) {
      values.push(value);
      [value, shift] = [0, 0];
    }
  }
  return values;
}

/** `KernelDef`: op 1, device 2, constraint 3 { name 1, allowed_values 2 { list 1 { type 6 } } }, host_memory_arg 4. */
const kernels = new Map<string, GpuKernel[]>();
for (const kernel of fieldsOf().filter(({ field }) => field === 1)) {
  let [op, device] = ['', ''];
  const types: Record<string, number[]> = {};
  const host: string[] = [];
  for (const part of fieldsOf(kernel)) {
    if (part.field === 1) op = text(part);
    else if (part.field === 2) device = text(part);
    else if (part.field === 4) host.push(text(part));
    else if (part.field === 3) {
      let name = '';
      const allowed: number[] = [];
      for (const inner of fieldsOf(part)) {
        if (inner.field === 1) name = text(inner);
        else if (inner.field === 2)
          for (const list of fieldsOf(inner).filter(({ field }) => field === 1))
            for (const type of fieldsOf(list).filter(({ field }) => field === 6))
              allowed.push(...(type.start + 1 < type.end ? packedVarints(type) : type.value === 0 ? packedVarints(type) : [type.value]));
      }
      types[name] = allowed.sort((a, b) => a - b);
    }
  }
  // What is registered for DEFAULT runs on every device.
  if (device !== 'GPU' && device !== 'DEFAULT') continue;
  const known = kernels.get(op) ?? [];
  kernels.set(op, known);
  known.push({ types, host: host.sort() });
}

/** Kernels that differ in the types of one attribute only become one. */
function merged(all: readonly GpuKernel[]): GpuKernel[] {
  let kernels = all.map(({ types, host }) => ({ types: Object.fromEntries(Object.entries(types).sort()), host }));
  for (const name of new Set(kernels.flatMap(({ types }) => Object.keys(types)))) {
    const byRest = new Map<string, GpuKernel>();
    for (const { types, host } of kernels) {
      const key = JSON.stringify([Object.entries(types).map(([n, allowed]) => (n === name ? n : [n, allowed])), host]);
      const same = byRest.get(key);
      if (same === undefined) byRest.set(key, { types, host });
      else if (types[name] !== undefined) same.types[name] = [...new Set([...same.types[name], ...types[name]])].sort((a, b) => a - b);
    }
    kernels = [...byRest.values()];
  }
  return kernels;
}

const sorted = [...kernels].sort(([a], [b]) => (a < b ? -1 : 1));
const lines = sorted.map(([op, all]) => `${JSON.stringify(op)}:${JSON.stringify(merged(all))}`);
const file = fileURLToPath(new URL('gpu-kernels.json', import.meta.url));
fs.writeFileSync(file, `{"version":${JSON.stringify(version)},"kernels":{\n${lines.join(',\n')}\n}}\n`);
const table = JSON.parse(fs.readFileSync(file, 'utf8')) as GpuKernels;
console.log(`TensorFlow ${table.version}: ${sorted.length} ops with kernels for GPUs, ${fs.statSync(file).size} bytes`);
process.exit(0);
