/**
 * One room for the weights of a network: parameters made from specs, filled from a seed or from a file, read, copied and freed together.
 *
 * Declaring a set allocates nothing on the TensorFlow runtime, so a step over weights of any size can be recorded before they exist.
 */
import * as tf from '@tensorflow/tfjs-core';
import { DitMoeError } from './errors.js';
import type { Precision } from './ops/index.js';
import { Parameter, type ParameterDtype } from './parameter.js';
import { tensorFlowBackend } from './tensorflow-backend.js';
import { initialWeight, type WeightSpec } from './weight-spec.js';

/** Weights that come do not fit the set that they are loaded into. */
export class WeightsError extends DitMoeError {
  static override readonly code = 'E_WEIGHTS';
}

/** A weight on the host. */
export interface WeightValue {
  shape: readonly number[];
  data: Float32Array;
}

/** Weights one at a time. */
export type WeightValues =
  | AsyncIterable<readonly [name: string, value: WeightValue]>
  | Iterable<readonly [name: string, value: WeightValue]>;

/** How a set of parameters is stored and named. */
export interface ParameterSetOptions {
  /** Of the storage: `bf16` keeps matrices (`WeightSpec.matrix`) in bfloat16, half the memory (default `f32`). */
  precision?: Precision;
  /** Put before the names of the parameters, not of the keys of the set (default none). */
  prefix?: string;
}

/** A tensor of a snapshot. */
export interface SnapshotTensor {
  name: string;
  shape: readonly number[];
  dtype: ParameterDtype;
  /** Copies the values to the host, bfloat16 as float32, and frees the copy on the device: once only. */
  data(): Promise<Float32Array | Int32Array>;
}

/** Values of a set at one moment. */
export interface Snapshot {
  tensors: readonly SnapshotTensor[];
  /** Frees what was not taken. */
  dispose(): void;
}

/** Names are listed up to this number in errors. */
const LISTED = 5;

/** Named parameters that belong together: a network, its averages, the moments of an optimizer. */
export class ParameterSet {
  /** @param parameters by name, in the order in which they are read and saved */
  constructor(readonly parameters: Readonly<Record<string, Parameter>>) {}

  /** A set without values, and on the TensorFlow runtime without memory, until `load` or an assignment gives them. */
  static declare(specs: Readonly<Record<string, WeightSpec>>, { precision = 'f32', prefix = '' }: ParameterSetOptions = {}): ParameterSet {
    const parameters: Record<string, Parameter> = {};
    for (const [name, { shape, matrix }] of Object.entries(specs))
      parameters[name] = new Parameter(prefix + name, shape, precision === 'bf16' && matrix === true ? 'bfloat16' : 'float32');
    return new ParameterSet(parameters);
  }

  /**
   * A set with the first values of the specs, the same on every machine; zeros and ones are made on the device.
   * @param seed integer in [0, 2^53)
   * @param options `purpose` keeps the weights of two networks with equal names apart (default `weights`); `partOf` says of which weights
   *   only one of `size` equal parts of the first axis is kept, that of `rank` (default: all are whole)
   * @throws ArgumentError if the seed is none
   */
  static create(
    specs: Readonly<Record<string, WeightSpec>>,
    seed: number,
    {
      purpose,
      partOf = () => undefined,
      ...options
    }: ParameterSetOptions & { purpose?: string; partOf?: (name: string) => { rank: number; size: number } | undefined } = {},
  ): ParameterSet {
    const kept = Object.entries(specs).map(([name, spec]) => {
      const [first, ...rest] = spec.shape;
      return [name, { ...spec, shape: spec.shape.length === 0 ? [] : [first / (partOf(name)?.size ?? 1), ...rest] }] as const;
    });
    const set = ParameterSet.declare(Object.fromEntries(kept), options);
    // Nothing is computed while a training state is planned, and billions of numbers would be drawn for nothing.
    if (tensorFlowBackend()?.recording === true) return set;
    try {
      for (const [name, spec] of Object.entries(specs)) {
        const parameter = set.parameters[name];
        if (spec.initial.kind === 'zeros') parameter.fill(0);
        else if (spec.initial.kind === 'ones') parameter.fill(1);
        else {
          const { rank, size } = partOf(name) ?? { rank: 0, size: 1 };
          const whole = initialWeight(name, spec, seed, purpose);
          assign(parameter, whole.subarray((rank * whole.length) / size, ((rank + 1) * whole.length) / size));
        }
      }
      return set;
    } catch (error) {
      set.dispose();
      throw error;
    }
  }

  /** Float32 parameters of the same names and shapes, all zero, made on the device; `prefix` is put before the parameters' names. */
  static zerosLike(parameters: Readonly<Record<string, Parameter>>, prefix: string): ParameterSet {
    const specs: Record<string, WeightSpec> = {};
    for (const [name, { shape }] of Object.entries(parameters)) specs[name] = { shape: shape.slice(), initial: { kind: 'zeros' } };
    return ParameterSet.create(specs, 0, { prefix });
  }

  /**
   * Fills the set with weights as they come, one on the host at a time, in any order.
   * @param onProgress called with the name of each weight before it goes to the device
   * @returns this set
   * @throws WeightsError if a weight is unknown, comes twice, has another shape or is missing at the end; those before it are loaded
   */
  async load(weights: WeightValues, { onProgress }: { onProgress?: (name: string) => void } = {}): Promise<this> {
    const missing = new Set(Object.keys(this.parameters));
    for await (const [name, { shape, data }] of weights) {
      const parameter = this.parameters[name];
      if (parameter === undefined) {
        const expected = listed([...missing]);
        throw new WeightsError(`No weight is called ${name}, expected ${expected}.`, { where: name, expected, found: name });
      }
      const size = tf.util.sizeFromShape(parameter.shape as number[]);
      if (!tf.util.arraysEqual(shape as number[], parameter.shape as number[]) || data.length !== size)
        throw new WeightsError(`${name}: expected shape [${parameter.shape}], found [${shape}] with ${data.length} values.`, {
          where: name,
          expected: `[${parameter.shape}]`,
          found: shape,
        });
      if (!missing.delete(name)) throw new WeightsError(`${name} comes twice.`, { where: name });
      onProgress?.(name);
      assign(parameter, data);
    }
    if (missing.size > 0) {
      const expected = listed([...missing]);
      const all = Object.keys(this.parameters).length;
      throw new WeightsError(`${missing.size} of ${all} weights are missing: ${expected}.`, { where: [...missing][0], expected });
    }
    return this;
  }

  /** The current values by name, on the device; bfloat16 storage as raw bfloat16 tensors. The caller disposes them. */
  read(): Record<string, tf.Tensor> {
    const values: Record<string, tf.Tensor> = {};
    for (const [name, parameter] of Object.entries(this.parameters)) values[name] = parameter.read();
    return values;
  }

  /**
   * Copies that stay as they are while the parameters change. On a CPU no byte is moved for them: the runtime gives a variable that is
   * being read a new buffer when the next step writes it. On a GPU they go to the host at once, for a copy could exceed its memory.
   */
  async snapshot(): Promise<Snapshot> {
    const toHost = tensorFlowBackend()?.isUsingGpuDevice === true;
    const copies = Object.entries(this.parameters).map(([name, parameter]) => {
      const copy = toHost ? parameter.data() : tf.keep(parameter.read());
      const data = async () => {
        if (!(copy instanceof tf.Tensor)) return copy;
        const values = (await copy.data()) as Float32Array | Int32Array;
        copy.dispose();
        return values;
      };
      return { copy, tensor: { name, shape: parameter.shape, dtype: parameter.dtype, data } };
    });
    if (toHost) await Promise.all(copies.map(({ copy }) => copy));
    return {
      tensors: copies.map(({ tensor }) => tensor),
      dispose() {
        for (const { copy } of copies) if (copy instanceof tf.Tensor) copy.dispose();
      },
    };
  }

  /** Frees the storage. */
  dispose(): void {
    for (const parameter of Object.values(this.parameters)) parameter.dispose();
  }
}

function assign(parameter: Parameter, data: Float32Array): void {
  tf.tidy(() => parameter.assign(tf.tensor(data, parameter.shape as number[])));
}

const listed = (names: readonly string[]): string =>
  names.length === 0 ? 'no more' : names.slice(0, LISTED).join(', ') + (names.length > LISTED ? `, ... (${names.length} in all)` : '');
