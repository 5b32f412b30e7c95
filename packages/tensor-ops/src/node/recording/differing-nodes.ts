import * as tf from '@tensorflow/tfjs-core';
import type { StepResult } from '../../compile.js';
import { ArgumentError } from '../../errors.js';
import { type OpAttribute, tensorFlowBackend } from '../../tensorflow-backend.js';
import type { TensorFlowNodeBackend } from '../backend.js';
import { attrValue } from '../protobuf.js';
import type { RecordedNode } from './symbolic-tensor.js';

/** How uneven the examples of the second recording are. */
const UNEVEN = 3;

/**
 * The ops of a step into which a size went that depends on data: dividing by `x.shape[0]` of such a tensor, the gradient of `tf.mean` over
 * it. A recorded step would go on with the number of its example and compute something else, silently; use ops on the values instead.
 *
 * Records the step twice, with even and with uneven examples of everything that depends on data, and compares every node; nothing runs.
 *
 * @param step as for `compile`
 * @param inputs of the shapes that the step is used with; values do not matter
 * @returns one line per op that differs, the first few; empty for a step that is right
 * @throws ArgumentError on another backend than the TensorFlow runtime
 */
export function differingNodes<I extends tf.Tensor[]>(step: (...inputs: I) => StepResult, inputs: I): string[] {
  const backend = tensorFlowBackend() as unknown as TensorFlowNodeBackend | undefined;
  if (backend === undefined) throw new ArgumentError('differingNodes', 'the TensorFlow runtime as backend', tf.getBackend());
  const nodesWith = (maxOverMean: number): readonly RecordedNode[] => {
    const flat = (...xs: tf.Tensor[]): tf.Tensor[] => {
      const result = step(...(xs as I));
      return result instanceof tf.Tensor ? [result] : Object.values(result);
    };
    const { recorder } = backend.record(flat, inputs, maxOverMean);
    recorder.releaseCaptures();
    recorder.free();
    return recorder.nodes;
  };
  const [even, uneven] = [nodesWith(1), nodesWith(UNEVEN)];
  const lines: string[] = [];
  if (even.length !== uneven.length) lines.push(`${even.length} ops with even sizes, ${uneven.length} with uneven ones`);
  for (let at = 0; at < Math.min(even.length, uneven.length) && lines.length < 10; at++) {
    const [a, b] = [described(even[at]), described(uneven[at])];
    if (a !== b) lines.push(`node ${at}: ${a} with even sizes, ${b} with uneven ones`);
  }
  return lines;
}

/** Everything of a node that may not depend on examples. */
function described({ op, inputs, control, attributes }: RecordedNode): string {
  const operands = inputs.map(({ node, index }) => `${node}:${index}`).join();
  const given = Object.entries(attributes).map(([name, attribute]) => `${name}=${readable(attribute)}`);
  return `${op}(${operands}${control.length > 0 ? ` after ${control}` : ''}) ${given.join(' ')}`;
}

/** Values of small constants, else the bytes. */
function readable(attribute: OpAttribute): string {
  if ('tensor' in attribute && ArrayBuffer.isView(attribute.tensor.values) && attribute.tensor.values.byteLength <= 64)
    return `[${attribute.tensor.shape}] ${attribute.tensor.values}`;
  return Buffer.from(attrValue(attribute)).toString('base64');
}
