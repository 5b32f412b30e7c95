/**
 * How a training state is shared out over the ranks of a cluster: with whom gradients are added up, and who keeps what. The experts of a
 * group of ranks lie on its members in equal parts; optimizer and averages (ZeRO) lie on all ranks that would keep the same.
 */
import {
  alone,
  type Collectives,
  type CompiledStep,
  compile,
  type Parameter,
  RankMean,
  ShardLayout,
  type WeightValue,
} from '@dit-moe/tensor-ops';
import type { Cluster } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import type { TrainConfig } from '../config/schema.js';

type Tensors = Record<string, tf.Tensor>;
type Parameters = Readonly<Record<string, Parameter>>;

/** Parameters whose gradients are added up over the same ranks. */
interface Section {
  names: readonly string[];
  mean: RankMean;
  /** Who keeps what of optimizer and averages; undefined where every rank keeps all. */
  layout: ShardLayout | undefined;
  /** The ranks on which the experts lie; undefined for what every rank has. */
  experts: Collectives | undefined;
}

/** The ranks that share this one's experts out: neighbours, which lie on one machine where launchers fill one after the other. */
export function expertRanksOf(cluster: Cluster | undefined, { experts }: TrainConfig['parallel']): Collectives {
  if (cluster === undefined || experts === 1) return alone;
  const first = cluster.rank - (cluster.rank % experts);
  return cluster.collectives.group(Array.from({ length: experts }, (_, i) => first + i));
}

/** A tensor's part of the first axis that a rank keeps. */
function partOf(data: Float32Array, { rank, size }: Collectives): Float32Array {
  const length = data.length / size;
  return data.subarray(rank * length, (rank + 1) * length);
}

export class Sharing {
  /** What this process's optimizer moves: parameters, or its shards of them. */
  readonly owned: Parameters;
  private readonly sections: readonly Section[];
  private readonly gather: CompiledStep<[tf.Tensor], tf.Tensor>;

  /**
   * @param trained what gradients move, as this process has it
   * @param isExpert whether a parameter is a part of the experts'
   */
  constructor(
    private readonly cluster: Cluster,
    private readonly trained: Parameters,
    isExpert: (name: string) => boolean,
    zero: number,
    expertRanks: Collectives,
  ) {
    const { collectives, rank, size } = cluster;
    const share = 1 / size;
    const section = (names: readonly string[], among: Collectives, experts: Collectives | undefined): Section => {
      const shapes = Object.fromEntries(names.map((name) => [name, trained[name].shape]));
      const mean = new RankMean(among, shapes, { share });
      const prefix = experts === undefined ? 'shard' : 'experts.shard';
      return { names, mean, layout: zero > 0 && among.size > 1 ? new ShardLayout(among, mean.buckets, prefix) : undefined, experts };
    };
    const [names, groups] = [Object.keys(trained), expertRanks.size];
    if (groups === 1) this.sections = [section(names, collectives, undefined)];
    else {
      // Those that hold the same experts.
      const same = Array.from({ length: size / groups }, (_, i) => i * groups + (rank % groups));
      this.sections = [
        section(
          names.filter((name) => !isExpert(name)),
          collectives,
          undefined,
        ),
        section(names.filter(isExpert), collectives.group(same), expertRanks),
      ];
    }
    this.owned = Object.assign(
      {},
      ...this.sections.map(({ names, layout }) => layout?.create(pick(trained, names)) ?? pick(trained, names)),
    );
    this.gather = compile((x: tf.Tensor) => expertRanks.allGather(x), { name: 'gather_experts', onWarning: () => {} });
  }

  /** Whether no rank has all of the averages. */
  get isSharedOut(): boolean {
    return this.sections.some(({ layout, experts }) => layout !== undefined || experts !== undefined);
  }

  /** Means over all ranks of scalars by name. */
  numbers(scalars: Tensors): Tensors {
    return this.sections[0].mean.numbers(scalars);
  }

  /** This rank's part of the mean gradients, where gradients are shared out; all others as they are. */
  shards(grads: Readonly<Tensors>): Tensors {
    return this.eachSection(({ names, mean, layout }) => {
      const own = pick(grads, names);
      return layout === undefined ? own : layout.named(mean.shards(own));
    });
  }

  /**
   * The mean gradients as this process's optimizer takes them, and the norm of the whole.
   * @param sharded whether they went through {@link shards}
   */
  reduce(own: Readonly<Tensors>, sharded: boolean): Tensors {
    const squares: tf.Tensor[] = [];
    const grads = this.eachSection(({ names, mean, layout, experts }) => {
      const add = (sum: tf.Tensor) => squares.push(experts === undefined ? sum : experts.allReduce(sum));
      if (layout === undefined) {
        const { grads, squares } = mean.gradients(pick(own, names));
        add(squares);
        return grads;
      }
      const shards = sharded ? pick(own, layout.names) : layout.named(mean.shards(pick(own, names)));
      add(mean.squaresOfShards(Object.values(shards)));
      return shards;
    });
    const sum = squares.reduce((a, b) => tf.add(a, b));
    return { norm: tf.sqrt(tf.mul(sum, 2)), ...grads };
  }

  /** Puts what all ranks' optimizers moved into the weights; inside a compiled step. */
  update(): void {
    for (const { layout } of this.sections) {
      if (layout === undefined) continue;
      tf.tidy(() => {
        const parts = Object.fromEntries(layout.names.map((name) => [name, this.owned[name].read()]));
        for (const [name, weight] of Object.entries(layout.join(parts))) this.trained[name].assign(weight);
      });
    }
  }

  /** Makes this process's shards follow the weights, after these were given. */
  weightsGiven(): void {
    for (const { layout, names } of this.sections) layout?.assign(pick(this.owned, layout.names), pick(this.trained, names));
  }

  /** A weight's part that this process keeps, from the whole on the host. */
  ownPart(name: string, data: Float32Array): Float32Array {
    const section = this.sections.find(({ names }) => names.includes(name));
    return section?.experts === undefined ? data : partOf(data, section.experts);
  }

  /**
   * How tensors for all trained parameters lie on the ranks.
   * @param tensors by the names of {@link owned}, or by those of the weights
   */
  stored(tensors: Parameters): SharedPart[] {
    return this.sections.map(({ names, layout, experts }) => {
      const owned = layout !== undefined && layout.names[0] in tensors;
      return new SharedPart(this.cluster, names, owned ? pick(tensors, layout.names) : pick(tensors, names), this.trained, {
        ...(owned && { layout }),
        ...(experts && { experts, gather: this.gather }),
      });
    });
  }

  dispose(): void {
    this.gather.dispose();
    for (const { layout } of this.sections) layout?.dispose();
    for (const [name, parameter] of Object.entries(this.owned)) if (this.trained[name] === undefined) parameter.dispose();
  }

  private eachSection(tensorsOf: (section: Section) => Tensors): Tensors {
    return Object.assign({}, ...this.sections.map(tensorsOf));
  }
}

/** Tensors of which every rank has a part, or all; read and filled whole, a little at a time. */
export class SharedPart {
  constructor(
    private readonly cluster: Cluster,
    readonly names: readonly string[],
    private readonly parameters: Parameters,
    private readonly trained: Parameters,
    private readonly how: { layout?: ShardLayout; experts?: Collectives; gather?: CompiledStep<[tf.Tensor], tf.Tensor> },
  ) {}

  /** The parameters themselves if this rank has all of them. */
  get whole(): Parameters | undefined {
    return this.how.layout === undefined && this.how.experts === undefined ? this.parameters : undefined;
  }

  /** The names in the order in which {@link read} gives the tensors. */
  get order(): readonly string[] {
    return this.how.layout?.tensorNames ?? this.names;
  }

  /** Shape of a whole tensor. */
  shapeOf(name: string): readonly number[] {
    const { shape } = this.trained[name];
    return [shape[0] * (this.how.experts?.size ?? 1), ...shape.slice(1)].slice(0, shape.length);
  }

  /** Whole tensors, those of a bucket or a single one of the experts at a time, which are freed after. Every rank reads to the end. */
  async *read(): AsyncGenerator<Tensors> {
    const { gather } = this.how;
    for await (const tensors of this.ofExpertRank())
      if (gather === undefined) yield tensors;
      else
        for (const [name, tensor] of Object.entries(tensors)) {
          const whole = await this.guard(() => gather.run(tensor));
          try {
            yield { [name]: whole };
          } finally {
            whole.dispose();
          }
        }
  }

  /** Fills this rank's part from whole tensors, one on the host at a time. */
  async load(read: (name: string) => Promise<WeightValue>): Promise<void> {
    const { layout, experts = alone } = this.how;
    const own = async (name: string) => {
      const { shape, data } = await read(name);
      return { shape: [shape[0] / experts.size, ...shape.slice(1)].slice(0, shape.length), data: partOf(data, experts) };
    };
    if (layout === undefined)
      for (const name of this.names) {
        const { shape, data } = await own(name);
        tf.tidy(() => this.parameters[name].assign(tf.tensor(data, shape)));
      }
    else {
      const { names } = this;
      await layout.load(
        this.parameters,
        (async function* () {
          for (const name of names) yield [name, await own(name)] as const;
        })(),
      );
    }
  }

  /** Tensors as one process of this rank's experts would have them. */
  private async *ofExpertRank(): AsyncGenerator<Tensors> {
    const { layout } = this.how;
    if (layout !== undefined) return yield* layout.read(this.parameters, (run) => this.guard(run));
    for (const name of this.names) {
      const tensor = this.parameters[name].read();
      try {
        yield { [name]: tensor };
      } finally {
        tensor.dispose();
      }
    }
  }

  private guard<T>(run: () => Promise<T>): Promise<T> {
    return this.cluster.guard('gathering the state', run);
  }
}

export const pick = <T>(record: Readonly<Record<string, T>>, names: readonly string[]): Record<string, T> =>
  Object.fromEntries(names.map((name) => [name, record[name]]));
