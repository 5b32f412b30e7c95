/** The Inception weights in the original frozen graph, under the names of the PyTorch conversion. */
import { type ByteSource, FormatError, type HostTensor, type WeightSource } from '@dit-moe/tensor-ops/io';
import { graphConstants, readConstant } from './graph-def.js';
import { inceptionShapes } from './weights.js';

/** Blocks in the graph's order; it calls them `mixed`, `mixed_1`, ... */
const BLOCKS = ['5b', '5c', '5d', '6a', '6b', '6c', '6d', '6e', '7a', '7b', '7c'];
const STEM = ['Conv2d_1a_3x3', 'Conv2d_2a_3x3', 'Conv2d_2b_3x3', 'Conv2d_3b_1x1', 'Conv2d_4a_3x3'];

/** The graph numbers repeated names from the second on. */
const numbered = (name: string, index: number): string => (index === 0 ? name : `${name}_${index}`);

/** The graph's name of a convolution, such as `mixed_4/tower_1/conv_2` for `Mixed_6b.branch7x7dbl_3`. */
export function graphName(convolution: string): string {
  const stem = STEM.indexOf(convolution);
  if (stem >= 0) return numbered('conv', stem);
  const [block, branch] = convolution.split('.') as [string, string];
  const mixed = numbered('mixed', BLOCKS.indexOf(block.slice('Mixed_'.length)));
  const [, kind, step, side] = /^(branch[^_]+(?:_pool)?|branch_pool)(?:_(\d)([ab])?)?$/.exec(branch)!;
  if (kind === 'branch1x1') return `${mixed}/conv`;
  if (kind === 'branch_pool') return `${mixed}/tower_2/conv`;
  // Mixed_6a begins with a single convolution, so its only tower is the double one; Mixed_7a has two towers.
  if (block === 'Mixed_6a' && kind === 'branch3x3') return `${mixed}/conv`;
  const tower = numbered('tower', block !== 'Mixed_6a' && /dbl|7x7x3/.test(kind) ? 1 : 0);
  if (side !== undefined) return `${mixed}/${tower}/mixed/${numbered('conv', side === 'a' ? 0 : 1)}`;
  return `${mixed}/${tower}/${numbered('conv', Number(step) - 1)}`;
}

const PARTS: Readonly<Record<string, string>> = {
  'conv.weight': 'conv2d_params',
  'bn.weight': 'batchnorm/gamma',
  'bn.bias': 'batchnorm/beta',
  'bn.running_mean': 'batchnorm/moving_mean',
  'bn.running_var': 'batchnorm/moving_variance',
};

function constantName(name: string): string {
  if (name === 'fc.weight') return 'softmax/weights';
  if (name === 'fc.bias') return 'softmax/biases';
  const [, convolution, part] = /^(.+)\.((?:conv|bn)\.\w+)$/.exec(name)!;
  return `${graphName(convolution)}/${PARTS[part]}`;
}

/**
 * Opens the frozen graph as a source of weights for `loadInception`.
 * @throws FormatError if it is no frozen graph, or not this network's
 */
export async function inceptionGraph(source: ByteSource): Promise<WeightSource> {
  const constants = await graphConstants(source);
  const names = [...inceptionShapes().keys()].filter((name) => constants.has(constantName(name)));
  if (names.length === 0)
    throw new FormatError(
      source.name,
      `it is a frozen graph, but not that of Inception (2015-12-05): it has "${[...constants.keys()][0]}", no "conv/conv2d_params".`,
    );
  const constant = (name: string) => constants.get(constantName(name))!;
  /** Filters are `[kh, kw, in, out]` there, the classifier `[in, out]`. */
  const turned = (shape: readonly number[]): number[] => {
    if (shape.length === 4) return [shape[3], shape[2], shape[0], shape[1]];
    return shape.length === 2 ? [shape[1], shape[0]] : [...shape];
  };
  return {
    names,
    info: (name) => ({ dtype: 'F32', shape: turned(constant(name).shape) }),
    async read(name): Promise<HostTensor> {
      const { shape } = constant(name);
      const values = await readConstant(source, constant(name));
      const outputs = shape.length > 1 ? shape.at(-1)! : 1;
      const inputs = shape.length > 1 ? shape.at(-2)! : values.length;
      const area = values.length / (outputs * inputs);
      const data = new Float32Array(values.length);
      for (let p = 0, at = 0; p < area; p++)
        for (let i = 0; i < inputs; i++) for (let o = 0; o < outputs; o++, at++) data[(o * inputs + i) * area + p] = values[at];
      return { dtype: 'F32', shape: turned(shape), data };
    },
  };
}
