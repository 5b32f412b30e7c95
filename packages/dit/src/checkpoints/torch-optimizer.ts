/** State of PyTorch's Adam and AdamW, as the reference's .pt files have it beside the weights, for our optimizer. */
import { type AdamW, ArgumentError } from '@dit-moe/tensor-ops';
import { findStateDict, type HostTensor, type TorchFile, type TorchTensor, torchAdamState } from '@dit-moe/tensor-ops/io';
import * as tf from '@tensorflow/tfjs-core';
import type { DitConfig } from '../config.js';
import { importWeights, modelTensors, type NamedArray, type TensorFile } from './convert.js';
import { layoutOf } from './layouts.js';

/** An optimizer's state; moments are read one at a time. */
export interface ImportedAdam {
  /** Steps taken: the most of any parameter, as some may have had no gradient at times. */
  step: number;
  learningRate: number;
  betas: [number, number];
  epsilon: number;
  weightDecay: number;
  /** Means of gradients by our names; zero for parameters that never had a gradient. */
  firstMoments(): AsyncGenerator<[name: string, value: NamedArray]>;
  /** Means of squared gradients by our names. */
  secondMoments(): AsyncGenerator<[name: string, value: NamedArray]>;
}

/**
 * The optimizer state of an opened PyTorch file, usually its entry `opt`. PyTorch numbers parameters in the order of the model's
 * state dict, which must lie in the same file under `model`.
 *
 * @throws FormatError if the file has no such entries
 * @throws ArgumentError if their numbers of parameters differ, or it is the state of several parameter groups
 */
export async function importAdam(config: DitConfig, file: TorchFile, where: string, entry = 'opt'): Promise<ImportedAdam> {
  const { groups, state } = torchAdamState(file.value instanceof Map ? file.value.get(entry) : undefined, `${where}: ${entry}`);
  const { tensors } = findStateDict(file.value, where, 'model');
  const names = [...tensors.keys()];
  const [group, ...others] = groups;
  if (group === undefined || others.length > 0) throw new ArgumentError(`${where}: ${entry}`, 'one group of parameters', groups.length);
  if (group.params.length !== names.length)
    throw new ArgumentError(`${where}: ${entry}`, `${names.length} parameters, as its model has`, group.params.length);
  let step = 0;
  for (const { step: own } of state.values()) step = Math.max(step, typeof own === 'number' ? own : Number((await file.read(own)).data[0]));
  const layout = layoutOf(names) ?? 'qkv';
  const moments = (kind: 'expAvg' | 'expAvgSq') => importWeights(config, modelTensors(momentFile(kind), where).file, { where, layout });
  const momentFile = (kind: 'expAvg' | 'expAvgSq'): TensorFile => {
    const of = (name: string): TorchTensor | undefined => state.get(group.params[names.indexOf(name)])?.[kind];
    return {
      names,
      info: (name) => of(name) ?? tensors.get(name)!,
      async read(name): Promise<HostTensor> {
        const moment = of(name);
        if (moment !== undefined) return file.read(moment);
        const shape = [...tensors.get(name)!.shape];
        return { dtype: 'F32', shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) };
      },
    };
  };
  const { lr: learningRate, betas, eps: epsilon, weightDecay } = group;
  return {
    step,
    learningRate,
    betas,
    epsilon,
    weightDecay,
    firstMoments: () => moments('expAvg'),
    secondMoments: () => moments('expAvgSq'),
  };
}

/** Puts an imported state into an optimizer of the same model, one moment at a time. */
export async function restoreAdam(optimizer: AdamW, state: ImportedAdam): Promise<void> {
  for (const [moments, own] of [
    [state.firstMoments(), optimizer.firstMoments],
    [state.secondMoments(), optimizer.secondMoments],
  ] as const)
    await own.load(moments);
  tf.tidy(() => optimizer.step.assign(tf.scalar(state.step)));
}
