import { integerField as integer, memorySource, bytesField as message } from '@dit-moe/tensor-ops/io';
import { describe, expect, test } from 'vitest';
import { inceptionShapes } from '../index.js';
import { convolutions } from './architecture.js';
import { graphName, inceptionGraph } from './graph-weights.js';

/** A node of a frozen graph that holds a float32 constant. */
function constant(name: string, shape: readonly number[], values: Float32Array): Uint8Array {
  const dims = shape.map((size) => message(2, integer(1, size)));
  const content = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const tensor = message(8, integer(1, 1), message(2, ...dims), message(4, content));
  return message(
    1,
    message(1, name),
    message(2, 'Const'),
    message(5, message(1, 'dtype'), message(2, integer(6, 1))),
    message(5, message(1, 'value'), message(2, tensor)),
  );
}
const counting = (length: number) => Float32Array.from({ length }, (_, i) => i);
const operation = message(1, message(1, 'conv/Conv2D'), message(2, 'Conv2D'), message(3, 'ExpandDims'));
const graph = (...nodes: Uint8Array[]) => memorySource(Buffer.concat([operation, ...nodes, message(4, integer(1, 8))]), 'graph.pb');

describe('the original frozen graph', () => {
  test('names of the graph and of the conversion belong together one to one', () => {
    const names = [...convolutions.keys()].map(graphName);
    expect(new Set(names).size).toBe(94);
    const pairs: Record<string, string> = {
      Conv2d_1a_3x3: 'conv',
      Conv2d_4a_3x3: 'conv_4',
      'Mixed_5b.branch1x1': 'mixed/conv',
      'Mixed_5c.branch5x5_2': 'mixed_1/tower/conv_1',
      'Mixed_5d.branch3x3dbl_3': 'mixed_2/tower_1/conv_2',
      'Mixed_5d.branch_pool': 'mixed_2/tower_2/conv',
      'Mixed_6a.branch3x3': 'mixed_3/conv',
      'Mixed_6a.branch3x3dbl_3': 'mixed_3/tower/conv_2',
      'Mixed_6b.branch7x7_1': 'mixed_4/tower/conv',
      'Mixed_6d.branch7x7dbl_5': 'mixed_6/tower_1/conv_4',
      'Mixed_7a.branch3x3_2': 'mixed_8/tower/conv_1',
      'Mixed_7a.branch7x7x3_4': 'mixed_8/tower_1/conv_3',
      'Mixed_7b.branch3x3_1': 'mixed_9/tower/conv',
      'Mixed_7b.branch3x3_2b': 'mixed_9/tower/mixed/conv_1',
      'Mixed_7c.branch3x3dbl_2': 'mixed_10/tower_1/conv_1',
      'Mixed_7c.branch3x3dbl_3a': 'mixed_10/tower_1/mixed/conv',
    };
    for (const [ours, theirs] of Object.entries(pairs)) expect(graphName(ours)).toBe(theirs);
  });

  test('filters and classifier are turned to the layout of the conversion', async () => {
    const source = await inceptionGraph(
      graph(
        constant('conv/conv2d_params', [3, 3, 3, 32], counting(3 * 3 * 3 * 32)),
        constant('conv/batchnorm/beta', [32], counting(32)),
        constant('softmax/weights', [2048, 1008], counting(2048 * 1008)),
      ),
    );
    expect([...source.names]).toEqual(['Conv2d_1a_3x3.conv.weight', 'Conv2d_1a_3x3.bn.bias', 'fc.weight']);
    for (const name of source.names) expect(source.info(name).shape).toEqual(inceptionShapes().get(name));
    const filter = (await source.read('Conv2d_1a_3x3.conv.weight')).data;
    // [out 5, in 2, row 1, column 0] is [row 1, column 0, in 2, out 5] in the graph.
    expect(filter[((5 * 3 + 2) * 3 + 1) * 3]).toBe(((1 * 3 + 0) * 3 + 2) * 32 + 5);
    expect((await source.read('fc.weight')).data[7 * 2048 + 3]).toBe(3 * 1008 + 7);
    expect([...(await source.read('Conv2d_1a_3x3.bn.bias')).data]).toEqual([...counting(32)]);
  });

  const whole = Buffer.concat([operation, constant('conv/conv2d_params', [3, 3, 3, 32], counting(864))]);
  test.each([
    ['another file', new TextEncoder().encode('<html>not found</html>'), /not a protobuf field|truncated/],
    ['an empty file', new Uint8Array(0), /no float32 constants/],
    ['a truncated graph', whole.subarray(0, whole.length - 100), /goes beyond the end: truncated/],
    ['a node of 2^40 bytes', Uint8Array.from([0x0a, ...integer(1, 2 ** 40).subarray(1), 1, 2]), /goes beyond the end/],
    ['a length without end', new Uint8Array(100).fill(0xff), /not a protobuf field/],
    ['another network', constant('dense/kernel', [2, 2], counting(4)), /not that of Inception .* it has "dense\/kernel"/],
    ['a shape that does not fit', constant('conv/conv2d_params', [3, 3, 3, 33], counting(864)), /3456 bytes for its shape \[3,3,3,33\]/],
  ])('%s is refused', async (_, bytes, message) => {
    await expect(inceptionGraph(memorySource(bytes, 'graph.pb'))).rejects.toThrow(message);
  });

  test('damaged bytes give a typed error or other weights, and never an endless loop', async () => {
    for (let at = 0; at < 120; at++) {
      const bytes = Uint8Array.from(whole);
      bytes[at] ^= 0xff;
      const error = await inceptionGraph(memorySource(bytes, 'graph.pb')).then(
        () => undefined,
        (e) => e,
      );
      if (error !== undefined) expect(error).toMatchObject({ code: 'E_FORMAT' });
    }
  });
});
