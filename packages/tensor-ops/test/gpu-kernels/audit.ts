/** What a step would do on a GPU, from a recording of it and TensorFlow's table of kernels; no GPU is needed. */
import * as tf from '@tensorflow/tfjs-core';
import { type StepResult, tensorFlowBackend } from '../../src/index.js';
import type { TensorFlowNodeBackend } from '../../src/node/backend.js';
import { elements } from '../../src/node/planning/bytes.js';
import type { OpArg } from '../../src/node/recording/op-def.js';
import type { RecordedNode } from '../../src/node/recording/symbolic-tensor.js';
import { type GpuKernel, gpuKernels } from './gpu-kernels.js';

/** Arrays of more elements are no sizes, axes or shapes. */
const SIZES = 128;

export interface GpuAudit {
  /** Ops without a kernel for GPUs, with their types. */
  missing: string[];
  /** Ops that compute in host memory on arrays of more than {@link SIZES} elements, as `Add T=3: [2048]`, with how often. */
  onHost: Record<string, number>;
  /** Values that ops take in host memory but that were computed on the device, for which the host waits: ops and shapes, with how many. */
  waits: Record<string, number>;
}

/** A result lies in host memory: constants do, and what kernels put there. */
interface Placed {
  host: boolean;
}

export function auditGpu<I extends tf.Tensor[]>(step: (...inputs: I) => StepResult, inputs: I): GpuAudit {
  const backend = tensorFlowBackend() as unknown as TensorFlowNodeBackend;
  const flat = (...xs: tf.Tensor[]): tf.Tensor[] => {
    const result = step(...(xs as I));
    return result instanceof tf.Tensor ? [result] : Object.values(result);
  };
  const { recorder, outputs } = backend.record(flat, inputs);
  // What a step returns goes to its caller.
  const returned = new Set(outputs.map(({ node }) => node));
  const audit: GpuAudit = { missing: [], onHost: {}, waits: {} };
  const count = (table: Record<string, number>, line: string): void => void (table[line] = (table[line] ?? 0) + 1);
  const placed: Placed[][] = [];
  for (const node of recorder.nodes) {
    if (node.op === 'Placeholder' || node.op === 'Const') {
      // TensorFlow hands functions their integers in host memory.
      placed.push(node.outputs.map(({ dtype }) => ({ host: node.op === 'Const' || dtype === 3 || dtype === 20 })));
      continue;
    }
    const definition = recorder.graph.definition(node.op);
    const givenTo = argumentsOf(definition.inputs, node, node.inputs.length);
    const types: Record<string, number> = { ...definition.defaultTypes };
    for (const [name, attribute] of Object.entries(node.attributes)) if ('type' in attribute) types[name] = attribute.type;
    node.inputs.forEach(({ node: from, index }, i) => {
      const { type } = givenTo[i];
      if (type !== undefined) types[type] = recorder.nodes[from].outputs[index].dtype;
    });
    const kernel = kernelOf(node.op, types);
    const said = `${node.op} ${Object.entries(types).map(([name, type]) => `${name}=${type}`)}`;
    if (kernel === undefined) {
      audit.missing.push(said);
      placed.push(node.outputs.map(() => ({ host: false })));
      continue;
    }
    const onHost = (arg: OpArg): boolean => kernel.host.includes(arg.name);
    const results = argumentsOf(definition.outputs, node, node.outputs.length);
    placed.push(node.outputs.map((_, i) => ({ host: onHost(results[i]) })));
    const shapes = [
      ...node.inputs.flatMap(({ node: from, index }, i) => (onHost(givenTo[i]) ? [recorder.nodes[from].outputs[index].shape] : [])),
      ...node.outputs.flatMap(({ shape }, i) => (onHost(results[i]) ? [shape] : [])),
    ];
    if (returned.has(placed.length - 1)) continue;
    const largest = shapes.sort((a, b) => elements(b) - elements(a))[0];
    if (largest !== undefined && elements(largest) > SIZES) count(audit.onHost, `${said}: [${largest}]`);
    node.inputs.forEach(({ node: from, index }, i) => {
      if (!onHost(givenTo[i]) || placed[from][index].host) return;
      // Copied once for all that take it.
      placed[from][index].host = true;
      count(audit.waits, `${node.op} ${givenTo[i].name}: [${recorder.nodes[from].outputs[index].shape}]`);
    });
  }
  recorder.releaseCaptures();
  recorder.free();
  return audit;
}

function kernelOf(op: string, types: Readonly<Record<string, number>>): GpuKernel | undefined {
  // Calls of functions run where their ops do.
  if (/PartitionedCall$|^StatelessCase$|^While$/.test(op)) return { types: {}, host: [] };
  return gpuKernels.kernels[op]?.find((kernel) =>
    Object.entries(kernel.types).every(([name, allowed]) => types[name] === undefined || allowed.includes(types[name])),
  );
}

/** The argument that each tensor is given for. */
function argumentsOf(args: readonly OpArg[], { attributes }: RecordedNode, total: number): OpArg[] {
  const result: OpArg[] = [];
  const lists = args.filter(({ list }) => list !== undefined).length;
  for (const arg of args) {
    const given = arg.list === undefined ? undefined : attributes[arg.list];
    const rest = total - result.length - args.slice(args.indexOf(arg) + 1).filter(({ list }) => list === undefined).length;
    const many =
      arg.list === undefined
        ? 1
        : given !== undefined && 'int' in given
          ? given.int
          : given !== undefined && 'types' in given
            ? given.types.length
            : rest;
    for (let i = 0; i < (lists === 1 && arg.list !== undefined ? rest : many); i++) result.push(arg);
  }
  return result;
}
