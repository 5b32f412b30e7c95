/** Our side of the engine benchmark: DiT-MoE forward and training steps, as the sampler and the trainer run them. */
import { type DitConfig, dit, isInt8Matrix, isMatrix, preset, weightSpecs } from '@dit-moe/dit';
import {
  AdamW,
  ArgumentError,
  compile,
  DataType,
  type InferencePrecision,
  Parameter,
  ParameterSet,
  type Precision,
  tensorFlowBackend,
  valueAndGrads,
} from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

export type Workload = 'forward' | 'train';

/** What is measured: 256 px latents in the smallest published model with experts. */
export const MODEL = 'S/2-8E2A';
export const BATCH = 4;
const LEARNING_RATE = 1e-4;
/** Standard deviation of all weights: the initial ones are zero in every modulation, which would leave the blocks without influence. */
export const WEIGHT_STD = 0.02;

/** A step that is ready to run. */
export interface ModelRun {
  /** Runs once and reads a number, so that nothing is left to do. */
  step(): Promise<void>;
  dispose(): void;
}

/** What other benchmarks measure instead of {@link MODEL} with {@link BATCH} images. */
export interface ModelOptions {
  config?: DitConfig;
  batch?: number;
  /** Train with recomputed blocks (default false). */
  recompute?: boolean;
}

/**
 * Builds a step.
 *
 * @param compiled one TensorFlow function per step, else op by op
 */
export function prepareModel(workload: Workload, precision: InferencePrecision, compiled: boolean, options: ModelOptions = {}): ModelRun {
  const { config = preset(MODEL), batch = BATCH, recompute = false } = options;
  if (workload === 'train' && precision === 'int8') throw new ArgumentError('prepareModel', 'f32 or bf16 to train in', precision);
  const parameters =
    precision === 'int8'
      ? makeInt8Parameters(config)
      : makeParameters(config, (name) => workload === 'forward' && precision === 'bf16' && isMatrix(name));
  const products = precision === 'int8' ? 'f32' : precision;
  const [x, target, t, y] = makeInputs(config, batch);
  const step = workload === 'forward' ? forwardStep(config, parameters, products) : trainStep(config, parameters, products, recompute);
  const fn = compile(step.run, { name: `${workload}_${precision}` });
  return {
    async step() {
      const out = compiled ? await fn.run(x, target, t, y) : tf.tidy(() => step.run(x, target, t, y));
      await out.data();
      out.dispose();
    },
    dispose() {
      fn.dispose();
      step.dispose();
      tf.dispose([x, target, t, y]);
      for (const parameter of Object.values(parameters)) parameter.dispose();
    },
  };
}

type StepFunction = (x: tf.Tensor, target: tf.Tensor, t: tf.Tensor, y: tf.Tensor) => tf.Tensor;

/** Prediction of the noise; the output is read to the host as a sampler's last step does. */
function forwardStep(
  config: DitConfig,
  parameters: Record<string, Parameter>,
  precision: Precision,
): { run: StepFunction; dispose(): void } {
  return { run: (x, _target, t, y) => dit(new ParameterSet(parameters).read(), config, x, t, y, { precision }).output, dispose() {} };
}

/** Forward, backward and AdamW. Where products are bfloat16, the masters are float32, and the step refreshes their copies. */
function trainStep(
  config: DitConfig,
  parameters: Record<string, Parameter>,
  precision: Precision,
  recompute: boolean,
): { run: StepFunction; dispose(): void } {
  const optimizer = new AdamW(parameters);
  const copies: Record<string, Parameter> = {};
  if (precision === 'bf16' && tensorFlowBackend()!.bf16Products) {
    for (const [name, parameter] of Object.entries(parameters)) {
      if (!isMatrix(name)) continue;
      const value = parameter.read();
      copies[name] = new Parameter(`bf16.${name}`, value, 'bfloat16');
      value.dispose();
    }
  }
  return {
    run(x, target, t, y) {
      const weights = new ParameterSet({ ...parameters, ...copies }).read();
      const { value, grads } = valueAndGrads(
        () => ({ loss: trainingLoss(weights, config, [x, target, t, y], precision, recompute) }),
        weights,
      );
      optimizer.apply(grads, LEARNING_RATE);
      for (const [name, copy] of Object.entries(copies)) tf.tidy(() => copy.assign(parameters[name].read()));
      return value;
    },
    dispose() {
      optimizer.dispose();
      for (const copy of Object.values(copies)) copy.dispose();
    },
  };
}

/** Mean squared error of all output channels plus the weighted balance loss; the peer has the same. */
export function trainingLoss(
  weights: Record<string, tf.Tensor>,
  config: DitConfig,
  [x, target, t, y]: readonly [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor],
  precision: Precision,
  recompute = false,
): tf.Scalar {
  const { output, losses } = dit(weights, config, x, t, y, { precision, recompute });
  const error = tf.mean(tf.squaredDifference(output, target)) as tf.Scalar;
  return config.moe === undefined ? error : tf.add(error, tf.mul(losses['balance'], config.moe.balanceAlpha));
}

/** Random weights, made on the device: 199 M numbers need not go through JavaScript. */
function makeParameters(
  config: DitConfig,
  isBf16: (name: string) => boolean,
  isWanted: (name: string) => boolean = () => true,
): Record<string, Parameter> {
  const backend = tensorFlowBackend()!;
  return Object.fromEntries(
    Object.entries(weightSpecs(config))
      .filter(([name]) => isWanted(name))
      .map(([name, { shape }]) => {
        const value = tf.tidy(() =>
          tf.mul(
            backend.raw('RandomStandardNormal', [tf.tensor1d(shape, 'int32')], {
              dtype: { type: DataType.float32 },
              seed: { int: 1 },
              seed2: { int: 1 },
            })[0],
            WEIGHT_STD,
          ),
        );
        const parameter = new Parameter(name, value, isBf16(name) ? 'bfloat16' : 'float32');
        value.dispose();
        return [name, parameter];
      }),
  );
}

/** The same model with its large matrices in int8: uniform integers, whose scales give them the same deviation. */
function makeInt8Parameters(config: DitConfig): Record<string, Parameter> {
  const backend = tensorFlowBackend()!;
  const all = Object.entries(weightSpecs(config));
  const parameters = makeParameters(
    config,
    () => false,
    (name) => !isInt8Matrix(name),
  );
  for (const [name, { shape }] of all) {
    if (!isInt8Matrix(name)) continue;
    parameters[name] = kept(name, 'int8', () => {
      const size = tf.tensor1d(shape, 'int32');
      const [uniform] = backend.raw('RandomUniform', [size], { dtype: { type: DataType.float32 }, seed: { int: 1 }, seed2: { int: 1 } });
      return tf.round(tf.mul(tf.sub(uniform, 0.5), 254));
    });
    const scales = [...shape.slice(0, -2), shape.at(-1)!];
    parameters[`${name}.scale`] = kept(`${name}.scale`, 'float32', () => tf.fill(scales, (WEIGHT_STD * Math.sqrt(3)) / 127));
  }
  return parameters;
}

function kept(name: string, dtype: 'int8' | 'float32', make: () => tf.Tensor): Parameter {
  const value = tf.tidy(make);
  const parameter = new Parameter(name, value, dtype);
  value.dispose();
  return parameter;
}

function makeInputs(config: DitConfig, batch: number): [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor] {
  const [height, width] = config.inputSize;
  return [
    tf.randomNormal([batch, config.inChannels, height, width], 0, 1, 'float32', 1),
    tf.randomNormal([batch, 2 * config.inChannels, height, width], 0, 1, 'float32', 2),
    tf.tensor1d(Float32Array.from({ length: batch }, (_, i) => (1000 * (i + 0.5)) / batch)),
    tf.tensor1d(Int32Array.from({ length: batch }, (_, i) => i * 100)),
  ];
}
