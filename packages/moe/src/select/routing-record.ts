/** Recording where tokens went, to replay it later or in another framework. */
import * as tf from '@tensorflow/tfjs-core';
import type { RoutingPlan } from '../plan.js';
import { replay } from './replay.js';
import type { Selector } from './selector.js';

/** The choices of one pass through a model; a plain object that JSON keeps. */
export interface RoutingRecord {
  /** Per layer: int32 `[N, m]`; `numExperts` of the layer marks an empty slot if `full` is false. */
  layers: { shape: [number, number]; indices: number[]; full: boolean }[];
}

/** Reads the choices of every layer to the host. */
export async function recordRouting(layers: readonly Pick<RoutingPlan, 'indices' | 'full'>[]): Promise<RoutingRecord> {
  return {
    layers: await Promise.all(
      layers.map(async ({ indices, full }) => ({
        shape: indices.shape as [number, number],
        indices: Array.from(await indices.data()),
        full,
      })),
    ),
  };
}

/** A selector that repeats the recorded choices of one layer; the tensor it holds belongs to the caller's `tf.tidy`. */
export function replayLayer(record: RoutingRecord, layer: number): Selector {
  const { shape, indices, full } = record.layers[layer];
  return replay(tf.tensor(indices, shape, 'int32'), full);
}
