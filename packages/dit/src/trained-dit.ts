/**
 * A trained model on the device: what its card says of time, precision and labels is done inside, so that its users speak of the path's
 * time and of classes only. It needs no diffusion: any solver, or a loss, may ask it.
 */
import type { Routing } from '@dit-moe/moe';
import { scoresAt } from '@dit-moe/moe/selectors';
import {
  type CompiledStep,
  compile,
  DitMoeError,
  type InferencePrecision,
  int8Refusal,
  type Parameter,
  type Precision,
  topK,
} from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { widened } from './checkpoints/int8-weights.js';
import type { ModelCard } from './checkpoints/model-card.js';
import { loadParameters, type ModelFile } from './checkpoints/read-model.js';
import { type DitConfig, nullLabelOf } from './config.js';
import { type DitOutput, dit } from './dit.js';
import { isThreshold } from './moe/moe-config.js';
import { isLabelTable } from './weights.js';

/** A label on the way from one class to another. */
export interface BlendedLabel {
  from: number;
  to: number;
  /** 0: `from`, 1: `to`. */
  share: number;
}

/**
 * Experts that the routers of one evaluation chose, per layer with experts: int32 `[tokens of the batch, m]`, those of the largest weight
 * first; where the number of a token's experts varies, the rest of its slots hold the number of experts.
 */
export type ChosenExperts = tf.Tensor[];

/** A model with its weights, ready to predict. */
export interface TrainedDit {
  readonly card: ModelCard;
  /** Of matrix products: `f32` where `int8` was asked for and is not to be had. */
  readonly precision: InferencePrecision;
  /**
   * The model as one function inside a compiled step or `tf.tidy`.
   * @param x `[B, C, H, W]`
   * @param t float32 `[B]`: of a flow the time on its path in [0, 1], of Gaussian diffusion the training timestep
   * @param y labels, int32 `[B]`
   */
  apply(x: tf.Tensor, t: tf.Tensor, y: tf.Tensor): DitOutput;
  /** What {@link apply} predicts, by one compiled step; the caller owns it. */
  predict(x: tf.Tensor, t: tf.Tensor, y: tf.Tensor): Promise<tf.Tensor>;
  /** {@link predict} with what the routers chose; a compiled step of its own. */
  predictWithRouting(x: tf.Tensor, t: tf.Tensor, y: tf.Tensor): Promise<{ output: tf.Tensor; experts: ChosenExperts }>;
  /** {@link predict} for labels between classes: label `i` is `labels[i]`, label `labels.length` none. The embeddings are mixed. */
  blend(labels: readonly BlendedLabel[]): { predict: TrainedDit['predict']; dispose(): void };
  /** Frees the compiled steps, and the weights if {@link loadDit} brought them. */
  dispose(): void;
}

/** Between the path's time and velocity and those of the network. */
function conventionOf({ objective, timeScale, convention, objectiveOptions }: ModelCard) {
  const same = (x: tf.Tensor): tf.Tensor => x;
  if (objective === 'ddpm') return { toModelTime: same, fromOutput: same };
  if (convention === undefined) return { toModelTime: (t: tf.Tensor): tf.Tensor => tf.mul(t, timeScale), fromOutput: same };
  const { prediction = 'velocity' } = (objectiveOptions ?? {}) as { prediction?: string };
  return {
    toModelTime: (t: tf.Tensor): tf.Tensor => tf.mul(tf.sub(1, t), timeScale),
    fromOutput: prediction === 'velocity' ? (output: tf.Tensor): tf.Tensor => tf.neg(output) : same,
  };
}

/** A token's experts, those of the largest weight first. */
function byWeight({ indices, weights, numExperts, full }: Routing): tf.Tensor {
  if (full) return indices;
  const slots = indices.shape[1]!;
  const empty = tf.cast(tf.equal(indices, tf.scalar(numExperts, 'int32')), 'float32');
  const order = topK(tf.sub(weights, tf.mul(empty, 1e30)), slots).indices; // [N, m]
  return tf.cast(scoresAt(tf.cast(indices, 'float32'), order), 'int32');
}

/**
 * A model of weights that are on the device, such as the averages of a training; they stay the caller's and may change between calls.
 * @param precision of matrix products (default `f32`)
 */
export function trainedDit(card: ModelCard, parameters: Readonly<Record<string, Parameter>>, precision: Precision = 'f32'): TrainedDit {
  const weights = () => Object.fromEntries(Object.entries(parameters).map(([name, parameter]) => [name, parameter.read()]));
  const { toModelTime, fromOutput } = conventionOf(card);
  const evaluate = (config: DitConfig, x: tf.Tensor, t: tf.Tensor, y: tf.Tensor, more: Record<string, tf.Tensor> = {}): DitOutput => {
    const { output, ...rest } = dit({ ...weights(), ...more }, config, x, toModelTime(t), y, { precision });
    return { output: fromOutput(output), ...rest };
  };
  const steps: CompiledStep<tf.Tensor[], tf.Tensor | tf.Tensor[]>[] = [];
  const compiled = <I extends tf.Tensor[], O extends tf.Tensor | tf.Tensor[]>(
    name: string,
    step: (...inputs: I) => O,
  ): CompiledStep<I, O> => {
    const made = compile(step, { name });
    steps.push(made as never);
    return made;
  };
  const plain = compiled('denoiser', (x: tf.Tensor, t: tf.Tensor, y: tf.Tensor) => evaluate(card.config, x, t, y).output);
  const routed = compiled('denoiser with routing', (x: tf.Tensor, t: tf.Tensor, y: tf.Tensor): tf.Tensor[] => {
    const { output, routing } = evaluate(card.config, x, t, y);
    return [output, ...routing.map(byWeight)];
  });
  return {
    card,
    precision,
    apply: (x, t, y) => evaluate(card.config, x, t, y),
    predict: (x, t, y) => plain.run(x, t, y),
    async predictWithRouting(x, t, y) {
      const [output, ...experts] = (await routed.run(x, t, y)) as [tf.Tensor, ...tf.Tensor[]];
      return { output, experts };
    },
    blend(labels) {
      const nullLabel = nullLabelOf(card.config);
      const names = Object.keys(parameters).filter(isLabelTable);
      const tables = tf.tidy(() =>
        names.map((name) => {
          const all = parameters[name].read();
          const row = (label: number): tf.Tensor => tf.slice(all, [label, 0], [1, -1]);
          const mixed = labels.map(({ from, to, share }) => tf.add(tf.mul(row(from), 1 - share), tf.mul(row(to), share)));
          return tf.concat([...mixed, ...(nullLabel === undefined ? [] : [row(nullLabel)])], 0);
        }),
      );
      const config = { ...card.config, numClasses: labels.length, nullLabel: nullLabel !== undefined };
      const step = compile(
        (x: tf.Tensor, t: tf.Tensor, y: tf.Tensor, ...rows: tf.Tensor[]) =>
          evaluate(config, x, t, y, Object.fromEntries(names.map((name, i) => [name, rows[i]]))).output,
        { name: 'denoiser between classes' },
      );
      return {
        predict: (x, t, y) => step.run(x, t, y, ...tables),
        dispose() {
          step.dispose();
          tf.dispose(tables);
        },
      };
    },
    dispose() {
      for (const step of steps) step.dispose();
    },
  };
}

/**
 * Brings a model's weights to the device, one tensor at a time.
 * @param card what the model is, see `cardOf`; its configuration may have another size than the file's
 * @param precision `bf16` keeps the matrices as bfloat16: half the memory, faster on machines with bfloat16 products; `int8` keeps the large
 *   ones as integers, 0.3 of it with many experts to a half, and multiplies them as such, where that is possible (default `f32`)
 * @param onWarning hears in a sentence why `int8` is not possible here, and the model is loaded in float32; and of weights in int8 that
 *   are widened for another precision (default `console.warn`)
 * @throws WeightsMismatchError naming the weights that are missing or of another shape; UntrainedRouterError if its routers have no thresholds
 */
export async function loadDit(
  file: Pick<ModelFile, 'weights'>,
  card: ModelCard,
  precision: InferencePrecision = 'f32',
  onWarning: (message: string) => void = console.warn,
): Promise<TrainedDit> {
  const refusal = precision === 'int8' ? int8Refusal() : undefined;
  if (refusal !== undefined) onWarning(`precision int8: ${refusal}. The model is loaded in float32.`);
  const used = refusal === undefined ? precision : 'f32';
  // A reason to load in float32 was heard already.
  const source = precision === 'int8' ? file : { weights: () => widened(file.weights(), onWarning) };
  const parameters = await loadParameters(source, { precision: used });
  await requireThresholds(parameters);
  const model = trainedDit(card, parameters, used === 'int8' ? 'f32' : used);
  return {
    ...model,
    precision: used,
    dispose() {
      model.dispose();
      for (const parameter of Object.values(parameters)) parameter.dispose();
    },
  };
}

/** A router whose tokens compete in training has no threshold to sample by. */
export class UntrainedRouterError extends DitMoeError {
  static override readonly code = 'E_UNTRAINED_ROUTER';
  constructor(name: string) {
    super(`The model's routers have no thresholds yet (${name} is 0): they are estimated in training, so train it for a step, or more.`, {
      where: name,
      expected: 'above 0',
      found: 0,
    });
  }
}

async function requireThresholds(parameters: Readonly<Record<string, Parameter>>): Promise<void> {
  for (const [name, parameter] of Object.entries(parameters))
    if (isThreshold(name) && name.endsWith('.share') && !((await parameter.data())[0] > 0)) {
      for (const one of Object.values(parameters)) one.dispose();
      throw new UntrainedRouterError(name);
    }
}
