/**
 * Collectives by TensorFlow's own ops (`Collective*V2`): a ring over gRPC between processors, NCCL between GPUs.
 *
 * A collective is known by its group and a number, which every rank counts alike because all run the same program; a number belongs to
 * the shape and type it was first used with, so every recording takes new ones. The ops have a timeout of their own, which is not used:
 * it keeps two threads asleep for each executed collective (see `Cluster.guard` instead).
 */
import * as tf from '@tensorflow/tfjs-core';
import type { Collectives, Reduction } from '../../collectives/index.js';
import { ArgumentError } from '../../errors.js';
import { customGradient } from '../../ops/index.js';
import { DataType, type OpAttribute, type TensorFlowBackend, tensorFlowBackend } from '../../tensorflow-backend.js';
import { RuntimeStoppedError } from '../tensorflow-error.js';
import type { RecordedCollective } from './recorded-collectives.js';

const mergeOps: Record<Reduction, string> = { sum: 'Add', max: 'Max', min: 'Min' };

/** Numbers below are left to TensorFlow's own use. */
const FIRST_KEY = 100;

const typeNames = new Map(Object.entries(DataType).map(([name, type]) => [type, name]));

/** Counts the groups and collectives of a process. */
interface Keys {
  nextGroup: number;
  nextInstance: number;
}

export class TensorFlowCollectives implements Collectives {
  private constructor(
    readonly rank: number,
    readonly size: number,
    private readonly groupKey: number,
    private readonly keys: Keys,
    private readonly onRecorded: (collective: RecordedCollective) => void,
  ) {}

  /** All ranks of a cluster. @param onRecorded told of each collective that is recorded */
  static of(rank: number, size: number, onRecorded: (collective: RecordedCollective) => void): TensorFlowCollectives {
    return new TensorFlowCollectives(rank, size, FIRST_KEY, { nextGroup: FIRST_KEY + 1, nextInstance: FIRST_KEY }, onRecorded);
  }

  /** @throws ArgumentError for an empty tensor, which would end the process of rank 0 */
  allReduce(x: tf.Tensor, reduction: Reduction = 'sum'): tf.Tensor {
    return this.run('CollectiveReduceV2', x, x.shape, {
      merge_op: { string: mergeOps[reduction] },
      // "Div" would block a thread; means are multiplied by who wants them.
      final_op: { string: 'Id' },
      max_subdivs_per_device: { int: -1 },
    });
  }

  /** @throws ArgumentError for an empty tensor, or one whose first axis the ranks do not divide */
  reduceScatter(x: tf.Tensor): tf.Tensor {
    this.divides('reduceScatter', x);
    const shape = [x.shape[0] / this.size, ...x.shape.slice(1)];
    if (backendOf().isUsingGpuDevice) {
      return this.run('CollectiveReduceScatterV2', x, shape, {
        merge_op: { string: 'Add' },
        final_op: { string: 'Id' },
        max_subdivs_per_device: { int: -1 },
      });
    }
    // Processors have no such kernel: every rank gets all parts that are its own, and adds them in the order of ranks.
    return tf.tidy(() => tf.sum(this.exchange(tf.reshape(x, [this.size, ...shape])), 0));
  }

  /** @throws ArgumentError for an empty tensor or a scalar */
  allGather(x: tf.Tensor): tf.Tensor {
    if (x.rank === 0) throw new ArgumentError('allGather', 'a tensor with a first axis', 'a scalar');
    return this.run('CollectiveGatherV2', x, [x.shape[0] * this.size, ...x.shape.slice(1)], {});
  }

  /** @throws ArgumentError for an empty tensor, or one whose first axis is not the number of ranks */
  allToAll(x: tf.Tensor): tf.Tensor {
    if (x.shape[0] !== this.size) throw new ArgumentError('allToAll', `a first axis of ${this.size}, the number of ranks`, `[${x.shape}]`);
    return customGradient(
      [x],
      ([input]) => ({ value: this.exchange(input), saved: [] }),
      (dy) => [this.exchange(dy)],
    );
  }

  group(ranks: readonly number[]): Collectives {
    const ascending = ranks.every((rank, i) => Number.isInteger(rank) && rank >= 0 && rank < this.size && (i === 0 || rank > ranks[i - 1]));
    if (!ascending || !ranks.includes(this.rank))
      throw new ArgumentError('group', `ascending ranks below ${this.size}, ${this.rank} among them`, `[${ranks}]`);
    // A group is known by its least member too, since the groups of one call are disjoint.
    const key = this.keys.nextGroup + ranks[0];
    this.keys.nextGroup += this.size;
    return new TensorFlowCollectives(ranks.indexOf(this.rank), ranks.length, key, this.keys, this.onRecorded);
  }

  private exchange(x: tf.Tensor): tf.Tensor {
    return this.run('CollectiveAllToAllV2', x, x.shape, {});
  }

  private divides(name: string, x: tf.Tensor): void {
    if (x.rank === 0 || x.shape[0] % this.size !== 0)
      throw new ArgumentError(name, `a first axis that ${this.size} ranks divide`, `[${x.shape}]`);
  }

  private run(op: string, x: tf.Tensor, shape: readonly number[], attributes: Readonly<Record<string, OpAttribute>>): tf.Tensor {
    if (x.size === 0) throw new ArgumentError(op, 'a tensor with elements', `[${x.shape}]`);
    const instance = this.keys.nextInstance++;
    const recording = tensorFlowBackend();
    if (recording?.recording === true) {
      const merged = attributes['merge_op'] === undefined ? '' : ` (${(attributes['merge_op'] as { string: string }).string})`;
      const what = `${op}${merged} of ${typeNames.get(recording.dtypeOf(x))} [${x.shape}]`;
      this.onRecorded({ group: this.groupKey, size: this.size, instance, what });
    }
    // Nothing is sent, but a number is taken: other ranks may be in larger groups, and all must count alike.
    if (this.size === 1) return tf.reshape(x, [...shape]);
    const backend = backendOf();
    return tf.tidy(() => {
      // Neither a gather nor NCCL takes bfloat16; moving it as float16 keeps its bits.
      const moves = op === 'CollectiveGatherV2' || op === 'CollectiveAllToAllV2';
      const asHalf = moves && backend.dtypeOf(x) === DataType.bfloat16;
      const bitcast = (y: tf.Tensor, type: DataType): tf.Tensor => backend.raw('Bitcast', [y], { type: { type } })[0];
      const own = asHalf ? bitcast(x, DataType.float16) : x;
      // TensorFlow takes the shape of the result for that of the input. In a recorded step it must not know that one then.
      const open = { shape: { shape: x.shape.map(() => -1) } };
      const input = backend.recording && shape !== x.shape ? backend.raw('PlaceholderWithDefault', [own], open)[0] : own;
      const integer = (value: number): tf.Tensor => tf.scalar(value, 'int32');
      const [result] = backend.raw(op, [input, integer(this.size), integer(this.groupKey), integer(instance)], {
        communication_hint: { string: backend.isUsingGpuDevice && x.dtype !== 'int32' ? 'nccl' : 'ring' },
        timeout_seconds: { float: 0 },
        Nordering_token: { int: 0 },
        is_stateless: { bool: false },
        ...attributes,
      });
      const known = backend.raw('Reshape', [result, tf.tensor1d([...shape], 'int32')])[0];
      return asHalf ? bitcast(known, DataType.bfloat16) : known;
    });
  }
}

function backendOf(): TensorFlowBackend {
  const backend = tensorFlowBackend();
  if (backend === undefined) throw new RuntimeStoppedError();
  return backend;
}
