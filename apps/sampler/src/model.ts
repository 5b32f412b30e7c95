/** A trained model on the device, ready to be asked. This file also runs in browsers. */
import type { ConditionalDenoiser } from '@dit-moe/diffusion';
import { type DitConfig, dit, type ModelCard, weightSpecs } from '@dit-moe/dit';
import { compile, Parameter, type Precision } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { ImageSpace } from './image-space.js';

/** What the routers of one evaluation chose. */
export interface RoutedBatch {
  /** Experts of every token, image by image, best first, per layer with experts: `[B * tokens * k]`. */
  layers: Int32Array[];
  /** Labels of the images, `[B]`; `numClasses` for unconditional ones. */
  labels: Int32Array;
  /** Time of the evaluation. */
  time: number;
}

/** A label on the way from one class to another. */
export interface BlendedLabel {
  from: number;
  to: number;
  /** 0: `from`, 1: `to`. */
  share: number;
}

/** A model on the device. */
export interface OpenModel {
  card: ModelCard;
  space: ImageSpace;
  /** The model's prediction at `t` in [0, 1]; one compiled step. */
  denoiser: ConditionalDenoiser;
  /** {@link denoiser} that also tells what the routers chose; a compiled step of its own. */
  inspect(onRouting: (routing: RoutedBatch) => void): ConditionalDenoiser;
  /** {@link denoiser} for labels between classes: label `i` is `labels[i]`, label `labels.length` none. The embeddings are mixed. */
  blend(labels: readonly BlendedLabel[]): { denoiser: ConditionalDenoiser; dispose(): void };
  dispose(): void;
}

const LABEL_TABLE = 'labelEmbedding.table';

/**
 * Brings the weights to the device, one tensor at a time.
 * @param read float32 values of a weight of that name and shape
 * @param precision `bf16` keeps the matrices as bfloat16: half the memory, faster on machines with bfloat16 products
 */
export async function prepareModel(
  card: ModelCard,
  space: ImageSpace,
  read: (name: string, shape: readonly number[]) => Promise<Float32Array> | Float32Array,
  precision: Precision = 'f32',
): Promise<OpenModel> {
  const parameters: Record<string, Parameter> = {};
  const freeParameters = () => {
    for (const parameter of Object.values(parameters)) parameter.dispose();
  };
  try {
    for (const [name, { shape }] of Object.entries(weightSpecs(card.config))) {
      const value = tf.tensor(await read(name, shape), shape);
      const rounded = precision === 'bf16' && /(\.weight|gateUp|down)$/.test(name);
      parameters[name] = new Parameter(name, value, rounded ? 'bfloat16' : 'float32');
      value.dispose();
    }
  } catch (error) {
    freeParameters();
    throw error;
  }
  const weights = () => Object.fromEntries(Object.entries(parameters).map(([name, parameter]) => [name, parameter.read()]));
  const evaluate = (config: DitConfig, x: tf.Tensor, t: tf.Tensor, y: tf.Tensor, more: Record<string, tf.Tensor> = {}) =>
    dit({ ...weights(), ...more }, config, x, tf.mul(t, card.timeScale), y, { precision });
  const forward = compile((x: tf.Tensor, t: tf.Tensor, y: tf.Tensor) => evaluate(card.config, x, t, y).output, { name: 'denoiser' });
  const routed = compile(
    (x: tf.Tensor, t: tf.Tensor, y: tf.Tensor) => {
      const { output, routing } = evaluate(card.config, x, t, y);
      return [output, ...routing.map(({ indices }) => indices)];
    },
    { name: 'denoiser with routing' },
  );
  return {
    card,
    space,
    denoiser: (x, t, y) => forward.run(x, t, y),
    inspect: (onRouting) => async (x, t, y) => {
      const [output, ...indices] = (await routed.run(x, t, y)) as [tf.Tensor, ...tf.Tensor[]];
      const [times, labels, ...layers] = await Promise.all([t, y, ...indices].map((tensor) => tensor.data()));
      tf.dispose(indices);
      onRouting({ layers: layers as Int32Array[], labels: labels as Int32Array, time: times![0]! });
      return output;
    },
    blend(labels) {
      const table = tf.tidy(() => {
        const all = parameters[LABEL_TABLE]!.read();
        const row = (label: number): tf.Tensor => tf.slice(all, [label, 0], [1, -1]);
        const mixed = labels.map(({ from, to, share }) => tf.add(tf.mul(row(from), 1 - share), tf.mul(row(to), share)));
        return tf.concat([...mixed, row(card.config.numClasses)], 0);
      });
      const config = { ...card.config, numClasses: labels.length };
      const step = compile(
        (x: tf.Tensor, t: tf.Tensor, y: tf.Tensor, rows: tf.Tensor) => evaluate(config, x, t, y, { [LABEL_TABLE]: rows }).output,
        { name: 'denoiser between classes' },
      );
      return {
        denoiser: (x, t, y) => step.run(x, t, y, table),
        dispose() {
          step.dispose();
          table.dispose();
        },
      };
    },
    dispose() {
      forward.dispose();
      routed.dispose();
      freeParameters();
      space.dispose();
    },
  };
}
