/**
 * The state dictionaries of facebookresearch/DiT and feizc/DiT-MoE, to and from our weights.
 *
 * Our weights are `[in, out]` with gate and up projections side by side and experts stacked; theirs are `[out, in]`, one tensor
 * each. So every weight of ours is a stack of slices, and every slice is some of their matrices on top of each other, transposed.
 */
import { ArgumentError, ShapeError } from '@dit-moe/tensor-ops';
import { type DitConfig, ditSizes } from './config.js';
import { positionEmbedding } from './embeddings.js';
import { weightSpecs } from './weights.js';

/** How attention is named: `qkv` (timm's module, also Meta's DiT) or `flash` (flash-attention's module with q/k norms). */
export type ReferenceLayout = 'qkv' | 'flash';

/** Numbers with a shape. */
export interface NamedArray {
  shape: readonly number[];
  data: Float32Array;
}

/** One weight of ours. */
interface Recipe {
  /** Their tensors: outer list the stacked slices, inner list what lies on top of each other before transposition. */
  slices: string[][];
  /** Whether their matrices are `[out, in]`; otherwise the one tensor is copied. */
  transposed: boolean;
  /** Shape of one of their tensors. */
  theirs: number[];
}

const POSITIONS = 'pos_embed';

function recipes(config: DitConfig, layout: ReferenceLayout): Record<string, Recipe> {
  const { headSize, outChannels } = ditSizes(config);
  const { hiddenSize: d, patchSize: p, inChannels, moe } = config;
  const all: Record<string, Recipe> = {};
  const copy = (ours: string, theirs: string, shape: number[]): void => {
    all[ours] = { slices: [[theirs]], transposed: false, theirs: shape };
  };
  const linear = (ours: string, theirs: string, inputs: number, outputs: number): void => {
    all[`${ours}.weight`] = { slices: [[`${theirs}.weight`]], transposed: true, theirs: [outputs, inputs] };
    copy(`${ours}.bias`, `${theirs}.bias`, [outputs]);
  };
  const gated = (ours: string, theirs: string[], hidden: number): void => {
    all[`${ours}.gateUp`] = {
      slices: theirs.map((t) => [`${t}.gate_proj.weight`, `${t}.up_proj.weight`]),
      transposed: true,
      theirs: [hidden, d],
    };
    all[`${ours}.down`] = { slices: theirs.map((t) => [`${t}.down_proj.weight`]), transposed: true, theirs: [d, hidden] };
  };
  all['patchEmbedding.weight'] = { slices: [['x_embedder.proj.weight']], transposed: true, theirs: [d, inChannels, p, p] };
  copy('patchEmbedding.bias', 'x_embedder.proj.bias', [d]);
  linear('timestepEmbedding.0', 't_embedder.mlp.0', weightSpecs(config)['timestepEmbedding.0.weight']!.shape[0]!, d);
  linear('timestepEmbedding.1', 't_embedder.mlp.2', d, d);
  copy('labelEmbedding.table', 'y_embedder.embedding_table.weight', weightSpecs(config)['labelEmbedding.table']!.shape);
  for (let b = 0; b < config.depth; b++) {
    const block = `blocks.${b}`;
    linear(`${block}.modulation`, `${block}.adaLN_modulation.1`, d, 6 * d);
    linear(`${block}.attention.qkv`, `${block}.attn.${layout === 'flash' ? 'Wqkv' : 'qkv'}`, d, 3 * d);
    linear(`${block}.attention.output`, `${block}.attn.${layout === 'flash' ? 'out_proj' : 'proj'}`, d, d);
    if (config.qkNorm === true) {
      for (const [ours, theirs] of [
        ['queryNorm', 'q_norm'],
        ['keyNorm', 'k_norm'],
      ]) {
        copy(`${block}.attention.${ours}.scale`, `${block}.attn.${theirs}.weight`, [headSize]);
        copy(`${block}.attention.${ours}.bias`, `${block}.attn.${theirs}.bias`, [headSize]);
      }
    }
    if (moe === undefined) {
      linear(`${block}.mlp.0`, `${block}.mlp.fc1`, d, config.mlpRatio * d);
      linear(`${block}.mlp.1`, `${block}.mlp.fc2`, config.mlpRatio * d, d);
      continue;
    }
    all[`${block}.moe.gate`] = { slices: [[`${block}.moe.gate.weight`]], transposed: true, theirs: [moe.numExperts, d] };
    const experts = Array.from({ length: moe.numExperts }, (_, e) => `${block}.moe.experts.${e}`);
    gated(`${block}.moe.experts`, experts, moe.expertRatio * d);
    if (moe.sharedRatio > 0) gated(`${block}.moe.shared`, [`${block}.moe.shared_experts`], moe.sharedRatio * d);
  }
  linear('finalLayer.modulation', 'final_layer.adaLN_modulation.1', d, 2 * d);
  linear('finalLayer.output', 'final_layer.linear', d, p * p * outChannels);
  return all;
}

/** Which layout a state dictionary with these names has. */
export function referenceLayoutOf(names: Iterable<string>): ReferenceLayout {
  for (const name of names) if (name.endsWith('.attn.Wqkv.weight')) return 'flash';
  return 'qkv';
}

/** Names in the reference's state dictionary, with the frozen position table. */
export function referenceNames(config: DitConfig, layout: ReferenceLayout): string[] {
  return [POSITIONS, ...Object.values(recipes(config, layout)).flatMap(({ slices }) => slices.flat())];
}

const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** `[rows, columns]` transposed into `to` at an offset, where the result has `stride` columns. */
function transposeInto(from: Float32Array, rows: number, columns: number, to: Float32Array, offset: number, stride: number): void {
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) to[offset + c * stride + r] = from[r * columns + c]!;
}

/**
 * Our weights from a state dictionary of the reference, one at a time.
 *
 * @param names all names in the dictionary
 * @param read gives one of its tensors
 * @param options `strict: false` ignores tensors that the model does not have (default: refuse them)
 * @throws ArgumentError listing missing and unexpected names before anything is read; ShapeError for a tensor of another shape
 */
export async function* importReference(
  config: DitConfig,
  names: readonly string[],
  read: (name: string) => Promise<NamedArray>,
  options: { strict?: boolean } = {},
): AsyncGenerator<[name: string, value: NamedArray]> {
  const layout = referenceLayoutOf(names);
  const expected = new Set(referenceNames(config, layout));
  const [missing, unexpected] = [[...expected].filter((n) => n !== POSITIONS && !names.includes(n)), names.filter((n) => !expected.has(n))];
  const some = (list: string[]): string =>
    list.length === 0 ? 'none' : `${list.slice(0, 5).join(', ')}${list.length > 5 ? `, ... (${list.length})` : ''}`;
  if (missing.length > 0 || (unexpected.length > 0 && options.strict !== false))
    throw new ArgumentError(
      'importReference: state dictionary',
      `the ${layout} layout of this model`,
      `missing: ${some(missing)}; unexpected: ${some(unexpected)}`,
    );
  const specs = weightSpecs(config);
  for (const [ours, { slices, transposed, theirs }] of Object.entries(recipes(config, layout))) {
    const { shape } = specs[ours]!;
    const data = new Float32Array(product(shape));
    const [rows, columns] = [theirs[0]!, product(theirs.slice(1))];
    for (const [s, parts] of slices.entries()) {
      for (const [i, part] of parts.entries()) {
        const found = await read(part);
        if (found.shape.length !== theirs.length || found.shape.some((n, axis) => n !== theirs[axis]))
          throw new ShapeError(`importReference: ${part}`, `[${theirs}]`, found.shape);
        if (!transposed) data.set(found.data);
        else transposeInto(found.data, rows, columns, data, (s * data.length) / slices.length + i * rows, rows * parts.length);
      }
    }
    yield [ours, { shape, data }];
  }
}

/**
 * The reference's state dictionary from our weights (or gradients, or averages), one tensor at a time, so that PyTorch loads it.
 *
 * @param read gives one of our weights
 */
export async function* exportReference(
  config: DitConfig,
  layout: ReferenceLayout,
  read: (name: string) => Promise<Float32Array>,
): AsyncGenerator<[name: string, value: NamedArray]> {
  const { grid, tokens } = ditSizes(config);
  yield [POSITIONS, { shape: [1, tokens, config.hiddenSize], data: Float32Array.from(positionEmbedding(config.hiddenSize, grid)) }];
  for (const [ours, { slices, transposed, theirs }] of Object.entries(recipes(config, layout))) {
    const data = await read(ours);
    const [rows, columns] = [theirs[0]!, product(theirs.slice(1))];
    for (const [s, parts] of slices.entries()) {
      for (const [i, part] of parts.entries()) {
        if (!transposed) {
          yield [part, { shape: theirs, data }];
          continue;
        }
        const out = new Float32Array(rows * columns);
        const stride = rows * parts.length;
        const offset = (s * data.length) / slices.length + i * rows;
        for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[r * columns + c] = data[offset + c * stride + r]!;
        yield [part, { shape: theirs, data: out }];
      }
    }
  }
}
