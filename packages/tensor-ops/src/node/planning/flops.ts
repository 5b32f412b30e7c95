import type { RecordedNode } from '../recording/symbolic-tensor.js';
import { elements } from './bytes.js';

/** Floating-point operations of matrix products and convolutions, two per multiply-accumulate; 0 for all other ops. */
export function flopsOf(node: RecordedNode, nodes: readonly RecordedNode[]): number {
  const shapeOf = (input: number): readonly number[] => {
    const { node: from, index } = node.inputs[input];
    return nodes[from].outputs[index].shape;
  };
  const flag = (name: string): boolean => {
    const attribute = node.attributes[name];
    return attribute !== undefined && 'bool' in attribute && attribute.bool;
  };
  switch (node.op) {
    case 'MatMul':
    case 'BatchMatMulV2': {
      const inner = shapeOf(0).at(flag('transpose_a') || flag('adj_x') ? -2 : -1)!;
      return 2 * elements(node.outputs[0].shape) * inner;
    }
    // Filters are [height, width, in, out]: each output position multiplies with all but the last axis.
    case 'Conv2D':
      return (2 * elements(node.outputs[0].shape) * elements(shapeOf(1))) / shapeOf(1)[3];
    case 'Conv2DBackpropInput':
      return (2 * elements(shapeOf(2)) * elements(shapeOf(1))) / shapeOf(1)[3];
    case 'Conv2DBackpropFilter': {
      const filter = node.outputs[0].shape;
      return (2 * elements(shapeOf(2)) * elements(filter)) / filter[3];
    }
    default:
      return 0;
  }
}
