/** Memory of a step by what is alive when: from its first to its last use, in the order of the recording. */
import type { RecordedNode } from '../recording/symbolic-tensor.js';
import { bytesOf } from './bytes.js';

/** Results that are their first input under another shape. */
const views = new Set(['Identity', 'Reshape', 'ExpandDims', 'Squeeze', 'StopGradient', 'PlaceholderWithDefault', 'Bitcast']);
/** Ops that may write into an input which nobody needs any more. */
const inPlace =
  /^(Add|AddV2|AddN|Sub|Mul|RealDiv|Div|Maximum|Minimum|Neg|Exp|Square|Rsqrt|Sqrt|Sigmoid|Tanh|Softmax|BiasAdd|SquaredDifference|Relu|Abs|Floor|StatefulPartitionedCall)$/;
/** Results that lie elsewhere: with the caller, in variables, in the function. */
const outside = new Set(['Placeholder', 'ReadVariableOp', 'Const']);

/** Whether results of an op are no memory of their own. */
export const isView = (op: string): boolean => views.has(op);
export const isOutside = (op: string): boolean => outside.has(op);

interface Buffer {
  bytes: number;
  first: number;
  last: number;
  op: string;
}

export interface Liveness {
  /** Most bytes alive at once. */
  peak: number;
  /** What they are: bytes by the op that made them, largest first. */
  atPeak: { op: string; bytes: number }[];
}

/** @param results nodes whose first result leaves the step */
export function livenessOf(nodes: readonly RecordedNode[], results: readonly number[]): Liveness {
  const lastUse = nodes.map((node, at) => node.outputs.map(() => at));
  nodes.forEach((node, at) => {
    for (const { node: from, index } of node.inputs) lastUse[from][index] = at;
  });
  for (const at of results) lastUse[at][0] = nodes.length;
  const buffers: Buffer[] = [];
  const bufferOf: (Buffer | undefined)[][] = nodes.map(() => []);
  nodes.forEach((node, at) => {
    if (isOutside(node.op)) return;
    node.outputs.forEach((output, index) => {
      const last = lastUse[at][index];
      const reused = isView(node.op) ? node.inputs.slice(0, 1) : inPlace.test(node.op) ? node.inputs : [];
      for (const { node: from, index: of } of reused) {
        const buffer = bufferOf[from][of];
        if (isView(node.op)) {
          if (buffer !== undefined) buffer.last = Math.max(buffer.last, last);
        } else if (buffer === undefined || buffer.bytes !== bytesOf(output) || buffer.last !== at) continue;
        else buffer.last = last;
        bufferOf[at][index] = buffer;
        return;
      }
      const buffer = { bytes: bytesOf(output), first: at, last, op: node.op };
      bufferOf[at][index] = buffer;
      buffers.push(buffer);
    });
  });
  return peakOf(buffers, nodes.length);
}

function peakOf(buffers: readonly Buffer[], length: number): Liveness {
  const change = new Float64Array(length + 2);
  for (const { bytes, first, last } of buffers) {
    change[first] += bytes;
    change[last + 1] -= bytes;
  }
  let [now, peak, when] = [0, 0, 0];
  for (let at = 0; at <= length; at++) {
    now += change[at];
    if (now > peak) [peak, when] = [now, at];
  }
  const sums = new Map<string, number>();
  for (const { bytes, first, last, op } of buffers) if (first <= when && when <= last) sums.set(op, (sums.get(op) ?? 0) + bytes);
  const atPeak = [...sums].map(([op, bytes]) => ({ op, bytes })).sort((a, b) => b.bytes - a.bytes);
  return { peak, atPeak };
}
