/**
 * What the router does, counted on the device during training or sampling and read every N steps.
 *
 * One table of counts [layer, expert, timestep bucket, class or null label, token position] and a few sums per layer. All are
 * parameters, so that `update` belongs inside a compiled step, costs a few small ops for all layers together, and the state can be
 * saved in a checkpoint. Counts are float32: exact up to 2^24 in each cell, so reset at least every 16 million samples.
 */
import { ArgumentError, oneHot, Parameter, ShapeError, toFloat } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { countedIndices, finiteTokens, type Routing } from '../plan.js';
import { type RoutingSnapshot, snapshotOf } from './snapshot.js';

/** Sizes of the counters. */
export interface TelemetryConfig {
  /** Layers with experts. */
  layers: number;
  numExperts: number;
  /** Tokens per sample. */
  tokens: number;
  /** Equal parts of the timestep range (default 10). */
  timestepBuckets?: number;
  /** Smallest and largest timestep, in the model's units (default [0, 1000]); others count in the first and last bucket. */
  timestepRange?: readonly [number, number];
  /** Cells of the token axis, each of `tokens / positions` neighbours (default: one per token); 1 saves memory. */
  positions?: number;
  /** Label of unconditional samples; without it every sample counts as one with a class. */
  nullLabel?: number;
}

/** What the samples of a batch are, `[B]` each; without timesteps all count in the first bucket. */
export interface TelemetryBatch {
  timesteps?: tf.Tensor;
  labels?: tf.Tensor;
}

/** Columns of the sums per layer. */
const SUMS = ['tokens', 'assignments', 'dropped', 'nonFiniteTokens', 'entropy'] as const;

/** Largest table: indices are computed in float32, which is exact up to here and faster than int32 on a GPU. */
const MAX_CELLS = 2 ** 24;

/** Counters of what the routers of a model do. */
export class RoutingTelemetry {
  readonly config: Required<Omit<TelemetryConfig, 'nullLabel'>> & Pick<TelemetryConfig, 'nullLabel'>;
  /** The whole state by name, to be saved in a checkpoint: counts, co-activation, sums, steps. */
  readonly parameters: Readonly<Record<'counts' | 'coActivation' | 'sums' | 'steps', Parameter>>;

  /**
   * @param name prefix of the parameters' names (default `telemetry`)
   * @throws ArgumentError if a size is not a positive integer or the table would have more than 2^24 cells
   */
  constructor(config: TelemetryConfig, name = 'telemetry') {
    this.config = { timestepBuckets: 10, timestepRange: [0, 1000], positions: config.tokens, ...config };
    const { layers, numExperts, tokens, timestepBuckets, positions } = this.config;
    for (const [field, value] of Object.entries({ layers, numExperts, tokens, timestepBuckets, positions }))
      if (!Number.isInteger(value) || value < 1) throw new ArgumentError(`RoutingTelemetry: ${field}`, 'a positive integer', value);
    const cells = layers * numExperts * timestepBuckets * 2 * positions;
    if (cells > MAX_CELLS)
      throw new ArgumentError('RoutingTelemetry', `at most ${MAX_CELLS} cells; give fewer positions or timestepBuckets`, cells);
    const zeros = (part: string, shape: number[]) => Parameter.create(`${name}.${part}`, () => tf.zeros(shape));
    this.parameters = {
      counts: zeros('counts', [cells]),
      coActivation: zeros('coActivation', [layers, numExperts, numExperts]),
      sums: zeros('sums', [layers, SUMS.length]),
      steps: zeros('steps', [1]),
    };
  }

  /**
   * Counts one batch. May be called inside a compiled step.
   *
   * @param routing of every layer, all with the same number of slots
   * @throws ArgumentError if the layers are not those of the configuration
   */
  update(routing: readonly Routing[], { timesteps, labels }: TelemetryBatch = {}): void {
    const { layers, numExperts, tokens, timestepBuckets, positions } = this.config;
    if (routing.length !== layers) throw new ArgumentError('RoutingTelemetry: layers', `${layers}`, routing.length);
    const [rows, slots] = routing[0].indices.shape as [number, number];
    for (const { indices, scores } of routing)
      if (indices.shape.join() !== `${rows},${slots}` || rows % tokens !== 0 || scores.shape[1] !== numExperts)
        throw new ShapeError('RoutingTelemetry', `indices [B * ${tokens}, ${slots}] and ${numExperts} experts`, indices.shape);
    tf.tidy(() => {
      const batch = rows / tokens;
      const cells = timestepBuckets * 2 * positions;
      const finite = tf.stack(routing.map((layer) => toFloat(finiteTokens(layer)))); // [L, N, 1]
      const counted = tf.stack(routing.map((layer) => toFloat(countedIndices(layer)))); // [L, N, m]
      const valid = toFloat(tf.less(counted, numExperts));

      const sample = tf.add(tf.mul(this.bucket(timesteps, batch), 2), this.isNull(labels, batch)); // [B]
      const position = Float32Array.from({ length: tokens }, (_, t) => Math.floor((t * positions) / tokens));
      const cell = tf.reshape(tf.add(tf.mul(tf.expandDims(sample, 1), positions), position), [1, rows, 1]);
      const firstExpert = tf.tensor(
        Float32Array.from({ length: layers }, (_, l) => l * numExperts),
        [layers, 1, 1],
      );
      const expert = tf.add(counted, firstExpert);
      const index = tf.cast(tf.reshape(tf.mul(tf.add(tf.mul(expert, cells), cell), valid), [-1]), 'int32');
      // Sums of ones are exact, so their order does not matter.
      this.parameters.counts.addAt(index, tf.reshape(valid, [-1]));

      const mask = tf.sum(oneHot(counted, numExperts), 2) as tf.Tensor3D; // [L, N, E]
      this.parameters.coActivation.add(tf.matMul(tf.transpose(mask, [0, 2, 1]), mask));

      const finiteRows = tf.sum(finite, [1, 2]); // [L]
      const sums = [
        tf.fill([layers], rows),
        tf.sum(valid, [1, 2]),
        tf.stack(routing.map(({ dropped }) => dropped ?? tf.scalar(0))),
        tf.sub(rows, finiteRows),
        tf.sum(entropy(tf.stack(routing.map(({ logits }) => logits)), finite), [1, 2]),
      ];
      this.parameters.sums.add(tf.stack(sums, 1));
      this.parameters.steps.add(tf.ones([1]));
    });
  }

  /** Reads what was counted since the last reset to the host. */
  async read(): Promise<RoutingSnapshot> {
    const [counts, coActivation, sums, steps] = await Promise.all(
      (['counts', 'coActivation', 'sums', 'steps'] as const).map((part) => this.parameters[part].data()),
    );
    return snapshotOf(this.config, { counts: counts, coActivation: coActivation, sums: sums, steps: steps[0] });
  }

  /** Starts anew. */
  reset(): void {
    tf.tidy(() => {
      for (const parameter of Object.values(this.parameters)) parameter.assign(tf.zeros(parameter.shape as number[]));
    });
  }

  /** Frees the counters. */
  dispose(): void {
    for (const parameter of Object.values(this.parameters)) parameter.dispose();
  }

  private bucket(timesteps: tf.Tensor | undefined, batch: number): tf.Tensor {
    if (timesteps === undefined) return tf.zeros([batch]);
    const { timestepBuckets, timestepRange } = this.config;
    const [from, to] = timestepRange;
    const share = tf.div(tf.sub(tf.cast(timesteps, 'float32'), from), to - from);
    return tf.clipByValue(tf.floor(tf.mul(share, timestepBuckets)), 0, timestepBuckets - 1);
  }

  private isNull(labels: tf.Tensor | undefined, batch: number): tf.Tensor {
    const { nullLabel } = this.config;
    if (labels === undefined || nullLabel === undefined) return tf.zeros([batch]);
    return tf.cast(tf.equal(labels, tf.scalar(nullLabel, 'int32')), 'float32');
  }
}

/** Entropy in nats of the softmax of logits `[L, N, E]`, 0 for tokens that are not finite: `[L, N, 1]`. */
function entropy(logits: tf.Tensor, finite: tf.Tensor): tf.Tensor {
  const shifted = tf.sub(logits, tf.max(logits, -1, true));
  const weights = tf.exp(shifted);
  const total = tf.sum(weights, -1, true);
  const nats = tf.sub(tf.log(total), tf.div(tf.sum(tf.mul(weights, shifted), -1, true), total));
  return tf.where(tf.cast(finite, 'bool'), nats, tf.zerosLike(nats));
}
