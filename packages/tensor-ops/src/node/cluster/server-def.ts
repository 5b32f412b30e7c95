/**
 * The messages that make a TensorFlow context a member of a cluster: `ServerDef` and the fields of `ConfigProto` that go with it, as
 * tf.distribute sets them. Field numbers are from tensorflow/core/protobuf/{tensorflow_server,cluster,config,coordination_config}.proto.
 */
import { bytesField, integerField, joined } from '../../io/protobuf.js';

const JOB = 'worker';
/** The device of rank 0, which leads the collectives and holds the coordination service. */
const LEADER = `/job:${JOB}/replica:0/task:0`;
/** How long TensorFlow waits until all have registered; who is missing is found out before (see rendezvous). */
const REGISTER_MS = 60_000;
/** After this time without a sign of life, which is given twice in it, a process counts as gone: a busy machine lets one wait for seconds. */
const HEARTBEAT_MS = 30_000;

/**
 * TensorFlow's task number of a rank. Members of a group are ordered by the *names* of their devices, in which `task:10` comes before
 * `task:2`; so ranks take task numbers in that order, and a gather comes in the order of ranks.
 */
export function taskOf(rank: number, size: number): number {
  return Number(Array.from({ length: size }, (_, i) => String(i)).sort()[rank]);
}

/** Fields of `ConfigProto` for a member of a cluster; they are appended to those of the context. */
export function clusterConfig(rank: number, size: number): Uint8Array {
  const coordination = [
    bytesField(1, 'standalone'),
    bytesField(2, LEADER),
    integerField(3, 1),
    integerField(4, REGISTER_MS),
    integerField(5, HEARTBEAT_MS),
    bytesField(10, bytesField(1, JOB), integerField(2, size)),
  ];
  return joined(
    bytesField(16, bytesField(1, LEADER), bytesField(23, ...coordination)),
    bytesField(4, `/job:${JOB}/task:${taskOf(rank, size)}`),
  );
}

/**
 * `ServerDef` of a rank.
 * @param addresses `host:port` of every rank, in their order
 * @param config the whole `ConfigProto` of the context
 */
export function serverDef(addresses: readonly string[], rank: number, config: Uint8Array): Uint8Array {
  const size = addresses.length;
  const tasks = addresses.map((address, i) => bytesField(2, integerField(1, taskOf(i, size)), bytesField(2, address)));
  return joined(
    bytesField(1, bytesField(1, bytesField(1, JOB), ...tasks)),
    bytesField(2, JOB),
    integerField(3, taskOf(rank, size)),
    bytesField(4, config),
    bytesField(5, 'grpc'),
  );
}
