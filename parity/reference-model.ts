/** Golden models: their configuration and weights as ours, and our tensors as theirs. Not an area of its own. */
import path from 'node:path';
import { type DitConfig, exportWeights, importWeights, type Layout, layoutOf } from '@dit-moe/dit';
import * as tf from '@tensorflow/tfjs-core';
import { json, tensors } from './golden.js';

export interface ReferenceModel {
  config: DitConfig;
  alpha: number;
  layout: Layout;
  weights: Record<string, tf.Tensor>;
}

/** Reads `config.json` and `weights.safetensors` of a model's folder. */
export async function readModel(folder: string): Promise<ReferenceModel> {
  const c = json(path.join(folder, 'config.json'));
  const state = tensors(path.join(folder, 'weights.safetensors'));
  const layout = layoutOf(state.keys())!;
  const config: DitConfig = {
    inputSize: [c.input_size, c.input_size],
    patchSize: c.patch_size,
    inChannels: c.in_channels,
    hiddenSize: c.hidden_size,
    depth: c.depth,
    numHeads: c.num_heads,
    mlpRatio: c.mlp_ratio,
    numClasses: c.num_classes,
    learnSigma: c.learn_sigma,
    nullLabel: c.class_dropout_prob > 0,
    qkNorm: layout === 'flash',
    moe: {
      numExperts: c.num_experts,
      topK: c.num_experts_per_tok,
      expertRatio: c.mlp_ratio,
      sharedRatio: (c.shared_expert_width ?? 2 * c.hidden_size) / c.hidden_size,
      balanceAlpha: c.aux_loss_alpha ?? 0.01,
    },
  };
  const weights: Record<string, tf.Tensor> = {};
  const file = { names: [...state.keys()], info: (name: string) => state.get(name)!, read: async (name: string) => state.get(name)! };
  for await (const [name, { shape, data }] of importWeights(config, file)) weights[name] = tf.tensor(data, [...shape]);
  return { config, alpha: config.moe!.balanceAlpha, layout, weights };
}

/** Tensors under our names as arrays under the reference's. */
export async function asReference(model: ReferenceModel, ours: Readonly<Record<string, tf.Tensor>>): Promise<Map<string, Float32Array>> {
  const theirs = new Map<string, Float32Array>();
  const read = async (name: string) => (await ours[name].data()) as Float32Array;
  for await (const [name, { data }] of exportWeights(model.config, model.layout, read)) theirs.set(name, data);
  return theirs;
}

/** A golden tensor on the device. */
export function onDevice(file: Map<string, { shape: number[]; data: unknown }>, name: string): tf.Tensor {
  const { shape, data } = file.get(name)!;
  return tf.tensor(data as Float32Array, shape, data instanceof Int32Array ? 'int32' : 'float32');
}
