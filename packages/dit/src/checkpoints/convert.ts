/** Weights of other implementations to ours and back, one tensor at a time. */
import { ArgumentError, DitMoeError, type QuantizedMatrix } from '@dit-moe/tensor-ops';
import type { Checkpoint } from '@dit-moe/tensor-ops/io';
import { type DitConfig, ditSizes } from '../config.js';
import { positionEmbedding } from '../embeddings.js';
import { weightSpecs } from '../weights.js';
import { checkExport, computedTensors, type Layout, layoutNames, layoutOf, POSITIONS, recipes } from './layouts.js';

/** Numbers with a shape. */
export interface NamedArray {
  shape: readonly number[];
  data: Float32Array;
  /** The same as integers, if the file holds them so; `data` is then made of them when it is read. */
  quantized?: QuantizedMatrix;
}

/** Tensors by name, as `openCheckpoint` gives them. */
export type TensorFile = Pick<Checkpoint, 'names' | 'info' | 'read'>;

/** A tensor that every layout has, at the end of its name. */
const ANCHOR = /(^|\.)(x_embedder\.proj\.weight|pos_embed\.proj\.weight)$/;

/** A file's tensors of one model. */
export interface ModelTensors {
  file: TensorFile;
  /** Names of the file that are none of the model's. */
  others: readonly string[];
}

/** What wrappers of single blocks put inside names: compiled, recomputed and split ones. */
const WRAPPERS = /(?<=^|\.)_(orig_mod|checkpoint_wrapped_module|fsdp_wrapped_module|forward_module)\./g;

/**
 * The tensors with the names that the model itself gives them: what training wrappers put before every name is left out, such as
 * DistributedDataParallel (`module.`), torch.compile (`_orig_mod.`), averaged models, Lightning and ema-pytorch. Of several copies the
 * averaged one is taken.
 * @throws ArgumentError if there are several and none is called an average
 */
export function modelTensors(file: TensorFile, where: string): ModelTensors {
  const plain = new Map(file.names.map((name) => [name.replace(WRAPPERS, ''), name]));
  const [names, stored] =
    plain.size === file.names.length
      ? [[...plain.keys()], (name: string) => plain.get(name) ?? name]
      : [file.names, (name: string) => name];
  const prefixes = names.flatMap((name) => {
    const match = ANCHOR.exec(name);
    return match === null ? [] : [name.slice(0, match.index + match[1].length)];
  });
  const averages = prefixes.filter((prefix) => /(^|[._])(ema|averaged?)([._]|$)/.test(prefix));
  const candidates = averages.length > 0 ? averages : prefixes;
  const [prefix = ''] = candidates;
  if (candidates.length > 1)
    throw new ArgumentError(`${where}: the model`, 'one set of weights', `several: ${candidates.join(', ')}`, {
      hint: 'Save the one that is meant by itself.',
    });
  // Whole numbers are buffers of training, such as counters and indices; no model here has any.
  const own = names.filter((name) => name.startsWith(prefix) && /^(F|BF)/.test(file.info(stored(name)).dtype));
  const isOwn = new Set(own);
  return {
    file: {
      names: own.map((name) => name.slice(prefix.length)),
      info: (name) => file.info(stored(prefix + name)),
      read: (name) => file.read(stored(prefix + name)),
    },
    others: names.filter((name) => !isOwn.has(name)),
  };
}

/** A file's tensors are not those of the model; the lists say which. */
export class WeightsMismatchError extends DitMoeError {
  static override readonly code = 'E_WEIGHTS_MISMATCH';
  constructor(
    where: string,
    readonly missing: readonly string[],
    readonly unexpected: readonly string[],
    readonly misshaped: readonly string[],
  ) {
    const some = (title: string, list: readonly string[]): string[] =>
      list.length === 0 ? [] : [`${title} ${list.slice(0, 8).join(', ')}${list.length > 8 ? `, ... (${list.length} in all)` : ''}`];
    const lists = [...some('missing:', missing), ...some('unexpected:', unexpected), ...some('of another shape:', misshaped)];
    const hint =
      missing.length + misshaped.length === 0 ? ' Set strict: false (--strict false) to leave out what the model does not have.' : '';
    super(`${where} does not fit the model; ${lists.join('; ')}.${hint}`);
  }
}

/** How the tensors of a foreign file are taken. */
export interface ImportOptions {
  /** `false` leaves out tensors that the model does not have (default: refuse them). Missing ones are always refused. */
  strict?: boolean;
  /** What the file is called in errors. */
  where?: string;
}

/**
 * Compares a file's tensors with those of a model, before any is read.
 * @param expected shapes by name
 * @param optional names that may be there
 * @throws WeightsMismatchError listing what is missing, unexpected or of another shape
 */
export function checkTensors(
  file: TensorFile,
  expected: ReadonlyMap<string, readonly number[]>,
  { strict = true, where = 'The file' }: ImportOptions,
  optional: readonly string[] = [],
): void {
  const present = new Set(file.names);
  const missing = [...expected.keys()].filter((name) => !present.has(name));
  const unexpected = strict ? file.names.filter((name) => !expected.has(name) && !optional.includes(name)) : [];
  const misshaped = [...expected]
    .filter(([name, shape]) => present.has(name) && file.info(name).shape.join() !== shape.join())
    .map(([name, shape]) => `${name} [${file.info(name).shape.join(', ')}] instead of [${shape.join(', ')}]`);
  if (missing.length + unexpected.length + misshaped.length > 0) throw new WeightsMismatchError(where, missing, unexpected, misshaped);
}

/**
 * One tensor as float32.
 * @throws ArgumentError if it does not hold floating-point numbers
 */
export async function readFloats(file: TensorFile, name: string): Promise<Float32Array> {
  const { data, dtype } = await file.read(name);
  if (data instanceof Float32Array && dtype !== 'C64') return data;
  if (data instanceof Float64Array) return Float32Array.from(data);
  throw new ArgumentError(name, 'floating-point numbers', dtype);
}

const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/**
 * Our weights from a state dictionary in another layout.
 *
 * @param layout default: that of the names, `qkv` if they tell nothing
 * @throws WeightsMismatchError before anything is read, see {@link checkTensors}
 * @throws ArgumentError if tensors that must be copies of each other are not
 */
export async function* importWeights(
  config: DitConfig,
  file: TensorFile,
  options: ImportOptions & { layout?: Layout } = {},
): AsyncGenerator<[name: string, value: NamedArray]> {
  const layout = options.layout ?? layoutOf(file.names) ?? 'qkv';
  const all = recipes(config, layout);
  const expected = new Map(
    Object.values(all).flatMap(({ slices, copies, shape }) => [...slices.flat(), ...copies].map((name) => [name, shape] as const)),
  );
  checkTensors(file, expected, options, computedTensors(layout));
  const specs = weightSpecs(config);
  for (const [ours, { slices, transposed, shape: theirs, copies }] of Object.entries(all)) {
    const { shape } = specs[ours];
    const data = new Float32Array(product(shape));
    const [rows, columns] = [theirs[0], product(theirs.slice(1))];
    for (const [s, parts] of slices.entries()) {
      for (const [i, part] of parts.entries()) {
        const found = await readFloats(file, part);
        const start = (s * data.length) / slices.length;
        if (transposed) transpose(found, rows, columns, data, start + i * rows, rows * parts.length);
        else data.set(found, start + i * found.length);
      }
    }
    for (const copy of copies) {
      const other = await readFloats(file, copy);
      const first = transposed ? await readFloats(file, slices[0][0]) : data;
      if (other.some((value, i) => !Object.is(value, first[i])))
        throw new ArgumentError(copy, `the values of ${slices[0][0]}: this model has one embedder for all blocks`, 'others');
    }
    yield [ours, { shape, data }];
  }
}

/**
 * A state dictionary in another layout from our weights (or gradients, or averages), so that PyTorch loads it.
 *
 * @param read gives one of our weights
 * @throws ArgumentError if the model has something that the layout cannot say
 */
export async function* exportWeights(
  config: DitConfig,
  layout: Layout,
  read: (name: string) => Promise<Float32Array>,
): AsyncGenerator<[name: string, value: NamedArray]> {
  const { grid, tokens } = ditSizes(config);
  const all = recipes(config, layout);
  checkExport(config, layout);
  if (layout !== 'diffusers' && config.positions !== 'stored')
    yield [POSITIONS, { shape: [1, tokens, config.hiddenSize], data: Float32Array.from(positionEmbedding(config.hiddenSize, grid)) }];
  for (const [ours, { slices, transposed, shape, copies }] of Object.entries(all)) {
    const data = await read(ours);
    const [rows, columns] = [shape[0], product(shape.slice(1))];
    for (const [s, parts] of slices.entries()) {
      for (const [i, part] of parts.entries()) {
        const start = (s * data.length) / slices.length;
        const size = rows * columns;
        const value = transposed
          ? untranspose(data, rows, columns, start + i * rows, rows * parts.length)
          : data.slice(start + i * size, start + (i + 1) * size);
        for (const name of [part, ...copies]) yield [name, { shape, data: value }];
      }
    }
  }
}

/** Names and shapes that {@link exportWeights} gives, for headers that are written first. */
export function exportedShapes(config: DitConfig, layout: Layout): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  const all = recipes(config, layout);
  checkExport(config, layout);
  for (const { slices, copies, shape } of Object.values(all)) for (const name of [...slices.flat(), ...copies]) shapes.set(name, shape);
  const ordered = layoutNames(config, layout);
  const positions = [1, ditSizes(config).tokens, config.hiddenSize];
  return new Map(ordered.map((name) => [name, shapes.get(name) ?? positions]));
}

/** Side of the square blocks that matrices are transposed in, so that both sides stay in the processor's cache. */
const BLOCK = 32;

/** `[rows, columns]`, transposed, into `to` at an offset, where the result has `stride` columns. */
function transpose(from: Float32Array, rows: number, columns: number, to: Float32Array, offset: number, stride: number): void {
  for (let r0 = 0; r0 < rows; r0 += BLOCK)
    for (let c0 = 0; c0 < columns; c0 += BLOCK) {
      const [r1, c1] = [Math.min(rows, r0 + BLOCK), Math.min(columns, c0 + BLOCK)];
      for (let c = c0; c < c1; c++) for (let r = r0; r < r1; r++) to[offset + c * stride + r] = from[r * columns + c];
    }
}

/** The inverse of {@link transpose}. */
function untranspose(from: Float32Array, rows: number, columns: number, offset: number, stride: number): Float32Array {
  const to = new Float32Array(rows * columns);
  for (let r0 = 0; r0 < rows; r0 += BLOCK)
    for (let c0 = 0; c0 < columns; c0 += BLOCK) {
      const [r1, c1] = [Math.min(rows, r0 + BLOCK), Math.min(columns, c0 + BLOCK)];
      for (let r = r0; r < r1; r++) for (let c = c0; c < c1; c++) to[r * columns + c] = from[offset + c * stride + r];
    }
  return to;
}
