/** Tensors of a training state that are saved in one file: those of one process, whoever holds them. */
import { type Parameter, type ShardLayout, tensorFlowBackend, type WeightValue } from '@dit-moe/tensor-ops';
import type { TensorSource } from '@dit-moe/tensor-ops/io/node';
import type { Cluster } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';

/** What the ranks of a cluster share out. */
export interface SharedOut {
  cluster: Cluster;
  layout: ShardLayout;
  /** This rank's parts, by what stands before the weights' names in the file. */
  parts: Readonly<Record<string, Readonly<Record<string, Parameter>>>>;
}

export class StateFile {
  /**
   * @param names of the tensors, in the order of the file
   * @param whole those that every process has
   * @param shared all others
   */
  constructor(
    readonly names: readonly string[],
    private readonly whole: Readonly<Record<string, Parameter>>,
    private readonly shared?: SharedOut,
  ) {}

  /** Shape of a tensor. */
  shapeOf(name: string): readonly number[] {
    const prefix = this.prefixOf(name);
    return this.whole[name]?.shape ?? this.shared!.layout.shapeOf(name.slice(prefix.length));
  }

  /**
   * Copies that stay as they are while training goes on; each is freed when its bytes are taken. What is shared out comes to the host of
   * rank 0, one bucket at a time; every rank calls this, and the others get no tensors.
   */
  async snapshot(): Promise<TensorSource[]> {
    const { shared } = this;
    const leads = shared === undefined || shared.cluster.rank === 0;
    const sources = leads ? await Promise.all(Object.entries(this.whole).map(copyOf)) : [];
    for (const [prefix, parts] of Object.entries(shared?.parts ?? {}))
      for await (const tensors of shared!.layout.read(parts, (run) => shared!.cluster.guard('gathering the state', run)))
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
    const { names, shared } = this;
    for (const [prefix, parts] of Object.entries(shared?.parts ?? {})) {
      const own = names.filter((name) => this.whole[name] === undefined && this.prefixOf(name) === prefix);
      const values = async function* () {
        for (const name of own) yield [name.slice(prefix.length), await read(name)] as const;
      };
      await shared!.layout.load(parts, values());
    }
  }

  private prefixOf(name: string): string {
    return Object.keys(this.shared?.parts ?? {}).find((prefix) => name.startsWith(prefix)) ?? '';
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
