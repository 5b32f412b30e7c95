/** What a training step needs, from recordings of its two halves: no weight is made, nothing is computed. */
import type { DitConfig } from '@dit-moe/dit';
import { type Parameter, tensorFlowBackend } from '@dit-moe/tensor-ops';
import { declared, plan, type StepPlan } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import type { TrainConfig } from '../config/schema.js';
import { TrainingState } from '../training/state.js';

/** Bytes on the device by what they are for. */
export interface RunMemory {
  weights: number;
  /** Of the optimizer. */
  moments: number;
  averages: number;
  /** Sums of gradients over micro-batches, and counters of the routers. */
  sums: number;
  /** Gradients, activations and what else lives at once within a step, at most. */
  working: number;
  /** All of it. */
  total: number;
}

export interface RunPlan {
  memory: RunMemory;
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
    const state = declared(() => new TrainingState(model, rest));
    try {
      return planState(state, rest);
    } finally {
      state.dispose();
    }
  } finally {
    if (backend !== undefined) backend.bf16Products = before!;
  }
}

function planState(state: TrainingState, config: Omit<TrainConfig, 'distillation'>): RunPlan {
  const { model } = state;
  const microBatch = config.batchSize / config.accumulation;
  const images = { shape: [microBatch, model.inChannels, ...model.inputSize] };
  const draws = state.objective.draw({ seed: 0, purpose: 'plan', indices: Array.from({ length: microBatch }, (_, i) => i) });
  const drawn = { shape: draws.shape, dtype: draws.dtype as 'float32' | 'int32' };
  draws.dispose();
  const labels = { shape: [microBatch], dtype: 'int32' as const };
  const gradients = plan((...xs: tf.Tensor[]) => state.gradientStep(...xs), [images, images, drawn, labels]);
  const parameters = Object.values(state.parameters);
  const given = config.accumulation > 1 ? [] : parameters.map(({ shape }) => ({ shape }));
  const update = plan((...xs: tf.Tensor[]) => state.updateStep(...xs), [{ shape: [] }, { shape: [] }, ...given]);

  const weights = bytesOf(state.parameters);
  const moments = bytesOf(state.optimizer.state);
  const averages = state.emas.reduce((sum, ema) => sum + bytesOf(ema.averages.parameters), 0);
  const sums = (config.accumulation > 1 ? weights : 0) + bytesOf(state.telemetry?.parameters ?? {});
  // The first half gives gradients to the second, unless they are summed up in place.
  const halves = [gradients, update].map((half) => ({ half, bytes: half.memory.inputs + half.memory.working }));
  const { half, bytes: working } = halves[0].bytes >= halves[1].bytes ? halves[0] : halves[1];
  return {
    memory: { weights, moments, averages, sums, working, total: weights + moments + averages + sums + working },
    ops: gradients.ops + update.ops,
    flops: config.accumulation * gradients.flops + update.flops,
    traffic: config.accumulation * gradients.traffic + update.traffic,
    atPeak: half.atPeak,
    largest: half.largest,
  };
}

/** Parameters are float32 or int32. */
const bytesOf = (parameters: Readonly<Record<string, Parameter>>): number =>
  Object.values(parameters).reduce((sum, { shape }) => sum + 4 * tf.util.sizeFromShape([...shape]), 0);
