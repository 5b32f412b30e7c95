/** A trained model on the device, ready to be asked. This file also runs in browsers. */
import { type ConditionalDenoiser, type Denoiser, type DiffusionModel, type ObjectiveOptions, objective } from '@dit-moe/diffusion';
import { type DitConfig, dit, loadParameters, type ModelCard, type ModelFile, nullLabelOf } from '@dit-moe/dit';
import { compile, type Precision } from '@dit-moe/tensor-ops';
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
  /** The model's output at `t`, as its objective tells it; one compiled step. */
  denoiser: ConditionalDenoiser;
  /** {@link denoiser} that also tells what the routers chose; a compiled step of its own. */
  inspect(onRouting: (routing: RoutedBatch) => void): ConditionalDenoiser;
  /** {@link denoiser} for labels between classes: label `i` is `labels[i]`, label `labels.length` none. The embeddings are mixed. */
  blend(labels: readonly BlendedLabel[]): { denoiser: ConditionalDenoiser; dispose(): void };
  dispose(): void;
}

const LABEL_TABLE = 'labelEmbedding.table';

/** Options of the objective that a model was trained with; cards of foreign models have none. */
function objectiveOf(card: ModelCard): ObjectiveOptions {
  const { objectiveOptions } = card as ModelCard & { objectiveOptions?: object };
  if (objectiveOptions !== undefined) return objectiveOptions as ObjectiveOptions;
  if (card.objective === 'flow') return { kind: 'flow' };
  // What DiT's own scripts take for models without learned variance.
  return card.config.learnSigma ? { kind: 'ddpm' } : { kind: 'ddpm', varianceType: 'fixed-large' };
}

/** What a solver has to know of the model, around a denoiser such as a guided one. */
export const diffusionModelOf = (card: ModelCard, denoiser: Denoiser): DiffusionModel => objective(objectiveOf(card)).model(denoiser);

/**
 * Brings the weights to the device, one tensor at a time.
 * @param precision `bf16` keeps the matrices as bfloat16: half the memory, faster on machines with bfloat16 products
 */
export async function prepareModel(
  card: ModelCard,
  space: ImageSpace,
  file: Pick<ModelFile, 'weights'>,
  precision: Precision = 'f32',
): Promise<OpenModel> {
  const parameters = await loadParameters(file, { precision });
  const weights = () => Object.fromEntries(Object.entries(parameters).map(([name, parameter]) => [name, parameter.read()]));
  const evaluate = (config: DitConfig, x: tf.Tensor, t: tf.Tensor, y: tf.Tensor, more: Record<string, tf.Tensor> = {}) =>
    dit({ ...weights(), ...more }, config, x, card.objective === 'flow' ? tf.mul(t, card.timeScale) : t, y, { precision });
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
      onRouting({ layers: layers as Int32Array[], labels: labels as Int32Array, time: times[0] });
      return output;
    },
    blend(labels) {
      const nullLabel = nullLabelOf(card.config);
      const table = tf.tidy(() => {
        const all = parameters[LABEL_TABLE].read();
        const row = (label: number): tf.Tensor => tf.slice(all, [label, 0], [1, -1]);
        const mixed = labels.map(({ from, to, share }) => tf.add(tf.mul(row(from), 1 - share), tf.mul(row(to), share)));
        return tf.concat([...mixed, ...(nullLabel === undefined ? [] : [row(nullLabel)])], 0);
      });
      const config = { ...card.config, numClasses: labels.length, nullLabel: nullLabel !== undefined };
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
      for (const parameter of Object.values(parameters)) parameter.dispose();
      space.dispose();
    },
  };
}
