/** What a training step needs, from recordings of its two halves: no weight is made, nothing is computed. */
import { type DitConfig, expertLayers, routerNoiseShapes } from '@dit-moe/dit';
import { type Parameter, tensorFlowBackend } from '@dit-moe/tensor-ops';
import { declared, plan, type StepPlan } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import type { TrainConfig } from '../config/schema.js';
import { TrainingState } from '../training/state.js';
import { PlannedCluster, type Sent } from './planned-cluster.js';

/** Bytes on the device by what they are for. */
export interface RunMemory {
  weights: number;
  /** Of the optimizer. */
  moments: number;
  averages: number;
  /** Weights that the optimizer moves, where they are shards of their own. */
  shards: number;
  /** Sums of gradients over micro-batches, and counters of the routers. */
  sums: number;
  /**
   * Gradients, activations and what else lives at once within a step, at most; or the average that rank 0 puts together between two steps,
   * if that is more.
   */
  working: number;
  /** All of it. */
  total: number;
}

export interface RunPlan {
  /** Of each process. */
  memory: RunMemory;
  /** Bytes that a process sends in one optimizer step; empty for one process. */
  sent: Sent;
  /** Ops of both halves of a step. */
  ops: number;
  /** Floating-point operations of one optimizer step, all micro-batches together. */
  flops: number;
  /** Bytes that ops read and write in one optimizer step. */
  traffic: number;
  /** What lives when most does, and the largest results, of the half of a step that needs more. */
  atPeak: StepPlan['atPeak'];
  largest: StepPlan['largest'];
}

export interface RunPlanOptions {
  /** Whether `precision: bf16` multiplies in bfloat16 (default: as on this machine; GPUs do). */
  bf16Products?: boolean;
  /** How many processes train together, as the configuration's `parallel` says (default 1). */
  processes?: number;
}

/**
 * Plans the step of a run, without the teacher of a distillation.
 * @throws ArgumentError on another backend than the TensorFlow runtime
 */
export function planRun(config: TrainConfig, model: DitConfig, options: RunPlanOptions = {}): RunPlan {
  const backend = tensorFlowBackend();
  const { distillation: _teacher, ...rest } = config;
  const before = backend?.bf16Products;
  if (backend !== undefined && options.bf16Products !== undefined) backend.bf16Products = options.bf16Products;
  try {
    const { processes = 1 } = options;
    const cluster = processes === 1 ? undefined : new PlannedCluster(processes);
    const state = declared(() => new TrainingState(model, rest, undefined, cluster));
    try {
      return planState(state, rest, cluster);
    } finally {
      state.dispose();
    }
  } finally {
    if (backend !== undefined) backend.bf16Products = before!;
  }
}

function planState(state: TrainingState, config: Omit<TrainConfig, 'distillation'>, cluster: PlannedCluster | undefined): RunPlan {
  const { model } = state;
  const microBatch = config.batchSize / config.accumulation / (cluster?.size ?? 1);
  const images = { shape: [microBatch, model.inChannels, ...model.inputSize] };
  const draws = state.objective.draw({ seed: 0, purpose: 'plan', indices: Array.from({ length: microBatch }, (_, i) => i) });
  const drawn = { shape: draws.shape, dtype: draws.dtype as 'float32' | 'int32' };
  draws.dispose();
  const labels = { shape: [microBatch], dtype: 'int32' as const };
  const rows = (of: readonly [number, number]) => ({ shape: [microBatch * of[0], of[1]] });
  const noise = expertLayers(model).flatMap(() => Object.values(routerNoiseShapes(model)).map(rows));
  const scalar = { shape: [] };
  const accumulates = config.accumulation > 1;
  cluster?.takeSent();
  const gradients = plan(
    (...xs: tf.Tensor[]) => state.gradientStep(...xs),
    [images, images, drawn, labels, ...noise, ...(cluster === undefined ? [] : [scalar])],
  );
  const sent = timesEach(cluster?.takeSent() ?? {}, config.accumulation);
  const reduce =
    accumulates && cluster !== undefined
      ? plan((...xs: tf.Tensor[]) => state.reduceStep(xs[0], ...xs.slice(1)), Array(1 + state.numbers.length).fill(scalar))
      : undefined;
  const given = accumulates && cluster === undefined ? [] : Object.values(state.owned).map(({ shape }) => ({ shape }));
  const update = plan((...xs: tf.Tensor[]) => state.updateStep(...xs), [scalar, scalar, ...given]);
  for (const [kind, n] of Object.entries(cluster?.takeSent() ?? {}) as [keyof Sent, number][]) sent[kind] = (sent[kind] ?? 0) + n;

  const weights = bytesOf(state.parameters);
  const moments = bytesOf(state.optimizer.state);
  const averages = state.emas.reduce((sum, ema) => sum + bytesOf(ema.averages.parameters), 0);
  const shards = Object.entries(state.owned).reduce((sum, [name, p]) => sum + (name in state.parameters ? 0 : bytesOf({ p })), 0);
  const sums = bytesOf(state.sums) + bytesOf(state.telemetry?.parameters ?? {});
  // The first part gives gradients to the next, unless they are summed up in place.
  const parts = [gradients, ...(reduce ? [reduce] : []), update].map((part) => ({ part, bytes: part.memory.inputs + part.memory.working }));
  const { part, bytes: most } = parts.reduce((a, b) => (b.bytes > a.bytes ? b : a));
  const working = Math.max(most, state.gatheredBytes);
  return {
    memory: { weights, moments, averages, shards, sums, working, total: weights + moments + averages + shards + sums + working },
    sent,
    ops: parts.reduce((sum, { part }) => sum + part.ops, 0),
    flops: config.accumulation * gradients.flops + update.flops,
    traffic: config.accumulation * gradients.traffic + update.traffic,
    atPeak: part.atPeak,
    largest: part.largest,
  };
}

const timesEach = (sent: Sent, factor: number): Sent => Object.fromEntries(Object.entries(sent).map(([kind, n]) => [kind, n * factor]));

/** Parameters are float32 or int32. */
const bytesOf = (parameters: Readonly<Record<string, Parameter>>): number =>
  Object.values(parameters).reduce((sum, { shape }) => sum + 4 * tf.util.sizeFromShape([...shape]), 0);
