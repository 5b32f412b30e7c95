/** Tensors of a training state that are saved in one file: those of one process, whoever holds them. */
import { type Parameter, tensorFlowBackend, type WeightValue } from '@dit-moe/tensor-ops';
import type { TensorSource } from '@dit-moe/tensor-ops/io/node';
import type { Cluster } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import type { SharedPart } from './sharing.js';

/** What the ranks of a cluster share out, with what stands before the weights' names in the file. */
export interface SharedOut {
  cluster: Cluster;
  parts: readonly { prefix: string; part: SharedPart }[];
}

export class StateFile {
  private readonly whole: Readonly<Record<string, Parameter>>;
  private readonly parts: SharedOut['parts'];
  /** How many ranks have the tensors, or parts of them; 1 if only rank 0's count. */
  readonly ranks: number;
  /** Whether this process gets the tensors. */
  private readonly leads: boolean;

  /**
   * @param names of the tensors, in the order of the file
   * @param whole those that every process has
   * @param shared all others
   */
  constructor(
    readonly names: readonly string[],
    whole: Readonly<Record<string, Parameter>>,
    shared?: SharedOut,
  ) {
    const parts = shared?.parts ?? [];
    const alsoWhole = parts.flatMap(({ prefix, part }) => Object.entries(part.whole ?? {}).map(([name, p]) => [prefix + name, p] as const));
    this.whole = { ...whole, ...Object.fromEntries(alsoWhole) };
    this.parts = parts.filter(({ part }) => part.whole === undefined);
    this.ranks = shared?.cluster.size ?? 1;
    this.leads = shared === undefined || shared.cluster.rank === 0;
  }

  /** Shape of a tensor. */
  shapeOf(name: string): readonly number[] {
    if (this.whole[name] !== undefined) return this.whole[name].shape;
    const { prefix, part } = this.parts.find(({ prefix, part }) => part.names.some((own) => prefix + own === name))!;
    return part.shapeOf(name.slice(prefix.length));
  }

  /** The names in the order in which {@link read} gives the tensors. */
  get order(): string[] {
    return [...Object.keys(this.whole), ...this.parts.flatMap(({ prefix, part }) => part.order.map((name) => prefix + name))];
  }

  /** Whole tensors, each freed after it; of what is shared out a little at a time is put together. Every rank reads to the end. */
  async *read(): AsyncGenerator<[name: string, tensor: tf.Tensor]> {
    for (const [name, parameter] of Object.entries(this.whole)) {
      const tensor = parameter.read();
      try {
        yield [name, tensor];
      } finally {
        tensor.dispose();
      }
    }
    for (const { prefix, part } of this.parts)
      for await (const tensors of part.read()) for (const [name, tensor] of Object.entries(tensors)) yield [prefix + name, tensor];
  }

  /**
   * Copies that stay as they are while training goes on; each is freed when its bytes are taken. What is shared out comes to the host of
   * rank 0, a little at a time; every rank calls this, and the others get no tensors.
   */
  async snapshot(): Promise<TensorSource[]> {
    const { leads } = this;
    const sources = leads ? await Promise.all(Object.entries(this.whole).map(copyOf)) : [];
    for (const { prefix, part } of this.parts)
      for await (const tensors of part.read())
        if (leads)
          for (const [name, tensor] of Object.entries(tensors)) sources.push(onHost(prefix + name, tensor.shape, await tensor.data()));
    const byName = new Map(sources.map((source) => [source.name, source]));
    return leads ? this.names.map((name) => byName.get(name)!) : [];
  }

  /** Puts values into the state; every rank reads all of them and keeps its part. */
  async load(read: (name: string) => Promise<WeightValue>): Promise<void> {
    for (const [name, parameter] of Object.entries(this.whole)) {
      const { shape, data } = await read(name);
      tf.tidy(() => parameter.assign(tf.tensor(data, [...shape])));
    }
    for (const { prefix, part } of this.parts) await part.load((name) => read(prefix + name));
  }
}

const onHost = (name: string, shape: readonly number[], data: Float32Array | Int32Array | Uint8Array): TensorSource => ({
  ...{ name, dtype: 'F32', shape },
  bytes: () => new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
});

async function copyOf([name, parameter]: [string, Parameter]): Promise<TensorSource> {
  const { shape } = parameter;
  // A copy on a GPU could exceed its memory; there it goes to the host at once.
  if (tensorFlowBackend()?.isUsingGpuDevice === true) return onHost(name, shape, await parameter.data());
  const value = tf.keep(parameter.read());
  return {
    ...{ name, dtype: 'F32', shape },
    async bytes() {
      const data = (await value.data()) as Float32Array;
      value.dispose();
      return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    },
  };
}
