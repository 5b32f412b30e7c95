/**
 * The least that a training step must do, as one compiled function over inputs that are on the device: the model's loss, gradients, clipping
 * where the configuration has it, AdamW, average.
 */
import { objective } from '@dit-moe/diffusion';
import { type DitConfig, dit, weightSpecs } from '@dit-moe/dit';
import {
  AdamW,
  clipByGlobalNorm,
  compile,
  DataType,
  Ema,
  mean,
  Parameter,
  ParameterSet,
  tensorFlowBackend,
  valueAndGrads,
} from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { TrainConfig } from '../../apps/trainer/src/config/schema.js';

/** Of all weights: initial ones would leave the blocks without influence. */
const WEIGHT_STD = 0.02;

/** Builds the step for a configuration of flow matching. */
export function bareStep(config: TrainConfig, model: DitConfig): { step(): Promise<void>; dispose(): void } {
  const { precision, batchSize, optimizer: settings } = config;
  const timeScale = config.objective.kind === 'flow' ? config.objective.timeScale : 1;
  const goal = objective({ kind: 'flow' });
  const parameters = Object.fromEntries(
    Object.entries(weightSpecs(model)).map(([name, { shape }]) => [name, Parameter.create(name, () => randomWeight(shape))]),
  );
  const optimizer = new AdamW(parameters, settings);
  const ema = new Ema(parameters, config.ema[0]);
  const shape = [batchSize, model.inChannels, ...model.inputSize];
  const inputs = [
    ...[1, 2].map((seed) => tf.randomNormal(shape, 0, 1, 'float32', seed)),
    tf.randomNormal([batchSize], 0, 1, 'float32', 3),
    tf.tensor1d(Int32Array.from({ length: batchSize }, (_, i) => i % model.numClasses)),
  ];
  const run = compile((x: tf.Tensor, noise: tf.Tensor, drawn: tf.Tensor, y: tf.Tensor) => {
    const weights = new ParameterSet(parameters).read();
    const { x: shown, t } = goal.noisy(x, noise, drawn);
    const { value, grads } = valueAndGrads(
      () => {
        const { output, losses } = dit(weights, model, shown, tf.mul(t, timeScale), y, { precision });
        const loss = mean(goal.losses(output, x, noise, drawn).loss, 0);
        return { loss: tf.add(loss, tf.mul(losses['balance'], model.moe!.balanceAlpha)) };
      },
      weights,
      { allowZeros: true },
    );
    optimizer.apply(settings.clipNorm === undefined ? grads : clipByGlobalNorm(grads, settings.clipNorm), settings.learningRate);
    ema.update();
    return value;
  });
  return {
    async step() {
      const loss = await run.run(...(inputs as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]));
      await loss.data();
      loss.dispose();
    },
    dispose() {
      for (const part of [run, optimizer, ema, ...Object.values(parameters)]) part.dispose();
      tf.dispose(inputs);
    },
  };
}

/** Made on the device: so many numbers need not go through JavaScript. */
function randomWeight(shape: readonly number[]): tf.Tensor {
  const attributes = { dtype: { type: DataType.float32 }, seed: { int: 1 }, seed2: { int: 1 } };
  return tf.tidy(() =>
    tf.mul(tensorFlowBackend()!.raw('RandomStandardNormal', [tf.tensor1d([...shape], 'int32')], attributes)[0], WEIGHT_STD),
  );
}
