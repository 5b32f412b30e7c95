/** What a step needs, from a recording of it: nothing is computed, and nothing but the plan is allocated. */
import * as tf from '@tensorflow/tfjs-core';
import type { StepResult } from '../../compile.js';
import { ArgumentError } from '../../errors.js';
import { tensorFlowBackend } from '../../tensorflow-backend.js';
import type { TensorFlowNodeBackend } from '../backend.js';
import { bytesOf } from './bytes.js';
import { flopsOf } from './flops.js';
import { isOutside, isView, type Liveness, livenessOf } from './liveness.js';

/** What a step takes: a tensor without values. */
export interface InputSpec {
  shape: readonly number[];
  /** Default `float32`. */
  dtype?: 'float32' | 'int32' | 'bool';
}

/** What a plan assumes of the routers. */
export interface PlanOptions {
  /** Load of the fullest expert over the mean (default 1, even): what follows from it, such as padding, grows with it. */
  maxOverMean?: number;
}

/** What a compiled step will cost, without running it. */
export interface StepPlan {
  /** Ops recorded. */
  ops: number;
  /** Floating-point operations of matrix products and convolutions, two per multiply-accumulate. */
  flops: number;
  /** Bytes that ops read and write, views aside: with a machine's bandwidth the time below which no step comes. */
  traffic: number;
  /** Bytes by what they are for. */
  memory: {
    /** Variables that the step reads or changes. */
    variables: number;
    /** Inputs, and tensors of the enclosing scope. */
    inputs: number;
    /** What it returns. */
    outputs: number;
    /**
     * Most bytes of results alive at once between inputs and outputs, those returned included, if ops run in the order of the recording.
     * Allocators round up and several ops run at once: on a CPU state and step together took 1.14 to 1.20 times what was planned for them.
     */
    working: number;
  };
  /** What lives when most does: bytes by the op that made it, largest first. */
  atPeak: Liveness['atPeak'];
  /** The ten largest results. */
  largest: { op: string; shape: readonly number[]; bytes: number }[];
  /** Ops by name, those with most work first: how many, floating-point operations, bytes of their results. */
  byOp: { op: string; count: number; flops: number; bytes: number }[];
}

/**
 * Records `step` and counts what it needs. With declared parameters (`declared`) this takes seconds and a few hundred MiB for a model of
 * any size.
 *
 * @param step as for `compile`
 * @param inputs what it is called with
 * @throws ArgumentError on another backend than the TensorFlow runtime
 */
export function plan<O extends StepResult>(
  step: (...inputs: tf.Tensor[]) => O,
  inputs: readonly InputSpec[],
  { maxOverMean = 1 }: PlanOptions = {},
): StepPlan {
  const backend = runtimeBackend('plan');
  const flat = (...xs: tf.Tensor[]): tf.Tensor[] => {
    const result = step(...xs);
    return result instanceof tf.Tensor ? [result] : Object.values(result);
  };
  const { recorder, outputs } = backend.recordSpecs(flat, inputs, maxOverMean);
  const { nodes } = recorder;
  const variables = recorder.capturedVariables();
  recorder.releaseCaptures();
  recorder.free();

  const results = outputs.map(({ node }) => node);
  const { peak, atPeak } = livenessOf(nodes, results);
  const byOp = new Map<string, StepPlan['byOp'][number]>();
  const largest: StepPlan['largest'] = [];
  let [flops, traffic, given] = [0, 0, 0];
  for (const node of nodes) {
    const entry = byOp.get(node.op) ?? { op: node.op, count: 0, flops: 0, bytes: 0 };
    byOp.set(node.op, entry);
    const own = flopsOf(node, nodes);
    const written = node.outputs.reduce((sum, output) => sum + bytesOf(output), 0);
    entry.count++;
    entry.flops += own;
    flops += own;
    if (node.op === 'Placeholder') given += written;
    if (isOutside(node.op) || isView(node.op)) continue;
    entry.bytes += written;
    traffic += written + node.inputs.reduce((sum, { node: from, index }) => sum + bytesOf(nodes[from].outputs[index]), 0);
    for (const output of node.outputs) largest.push({ op: node.op, shape: output.shape, bytes: bytesOf(output) });
  }
  return {
    ops: nodes.length,
    flops,
    traffic,
    memory: {
      variables: variables.reduce((sum, variable) => sum + bytesOf(variable), 0),
      inputs: given,
      outputs: outputs.reduce((sum, output) => sum + bytesOf(output), 0),
      working: peak,
    },
    atPeak,
    largest: largest.sort((a, b) => b.bytes - a.bytes).slice(0, 10),
    byOp: [...byOp.values()].sort((a, b) => b.flops - a.flops || b.bytes - a.bytes),
  };
}

/**
 * Runs `make` without computing or allocating anything: parameters that it makes are declared, whatever it puts into them; tensors have
 * no values. For optimizers, averages and whole training states that are planned, not run.
 *
 * @throws ArgumentError on another backend than the TensorFlow runtime
 */
export function declared<T>(make: () => T): T {
  return runtimeBackend('declared').declare(make);
}

function runtimeBackend(what: string): TensorFlowNodeBackend {
  const backend = tensorFlowBackend() as unknown as TensorFlowNodeBackend | undefined;
  if (backend === undefined) throw new ArgumentError(what, 'the TensorFlow runtime as backend', tf.getBackend());
  return backend;
}
