/** Opens a trained model: a run folder, one of its checkpoints, or a safetensors file. */
import fs from 'node:fs/promises';
import path from 'node:path';
import type { ConditionalDenoiser } from '@dit-moe/diffusion';
import { cardFromMetadata, dit, type ModelCard, weightSpecs } from '@dit-moe/dit';
import { compile, Parameter, type Precision } from '@dit-moe/tensor-ops';
import { SafetensorsFile } from '@dit-moe/tensor-ops/io/node';
import * as tf from '@tensorflow/tfjs-core';
import { ModelError } from './errors.js';

/** Which weights of a run: the average (better samples) or the last ones. */
export type WeightChoice = 'ema' | 'weights';

/** The file of weights behind `location`; of a run folder, that of its newest checkpoint. */
export async function findModel(location: string, choice: WeightChoice): Promise<string> {
  const stat = await fs.stat(location).catch(() => undefined);
  if (stat === undefined) throw new ModelError(`There is no ${location}. Give a run folder, a checkpoint folder or a .safetensors file.`);
  if (stat.isFile()) return location;
  const file = path.join(location, `${choice}.safetensors`);
  if ((await fs.stat(file).catch(() => undefined)) !== undefined) return file;
  const checkpoints = path.join(location, 'checkpoints');
  const newest = (await fs.readdir(checkpoints).catch(() => [] as string[]))
    .filter((name) => /^step-\d+$/.test(name))
    .sort()
    .at(-1);
  if (newest === undefined)
    throw new ModelError(`${location} holds neither ${choice}.safetensors nor checkpoints/step-N. Is it a run folder?`);
  return path.join(checkpoints, newest, `${choice}.safetensors`);
}

/** What the routers of one evaluation chose. */
export interface RoutedBatch {
  /** Experts of every token, image by image, best first, per layer with experts: `[B * tokens * k]`. */
  layers: Int32Array[];
  /** Labels of the images, `[B]`; `numClasses` for unconditional ones. */
  labels: Int32Array;
  /** Time of the evaluation. */
  time: number;
}

/** A model on the device. */
export interface OpenModel {
  card: ModelCard;
  /** Velocity at `t` in [0, 1]; one compiled step. */
  denoiser: ConditionalDenoiser;
  /** {@link denoiser} that also tells what the routers chose; a compiled step of its own. */
  inspect(onRouting: (routing: RoutedBatch) => void): ConditionalDenoiser;
  dispose(): void;
}

/**
 * Reads a model, one tensor at a time.
 * @param precision `bf16` keeps the matrices as bfloat16: half the memory, faster on machines with bfloat16 products
 * @throws ModelError if weights are missing or of another shape
 */
export async function openModel(file: string, precision: Precision): Promise<OpenModel> {
  const source = await SafetensorsFile.open(file).catch((cause) => {
    throw new ModelError(`Cannot open the model: ${(cause as Error).message}`, { cause });
  });
  const parameters: Record<string, Parameter> = {};
  try {
    const card = cardFromMetadata(source.metadata, file);
    for (const [name, { shape }] of Object.entries(weightSpecs(card.config))) {
      // Averages are stored under "ema.<decay>.<name>".
      const stored = source.names.find((n) => n === name || (n.startsWith('ema.') && n.endsWith(`.${name}`)));
      if (stored === undefined) throw new ModelError(`${file} has no weight "${name}".`);
      const tensor = await source.read(stored);
      if (!tf.util.arraysEqual(tensor.shape, shape)) throw new ModelError(`${file}: "${name}" is [${tensor.shape}], expected [${shape}].`);
      const value = tf.tensor(tensor.data as Float32Array, shape);
      const rounded = precision === 'bf16' && /(\.weight|gateUp|down)$/.test(name);
      parameters[name] = new Parameter(name, value, rounded ? 'bfloat16' : 'float32');
      value.dispose();
    }
    const evaluate = (x: tf.Tensor, t: tf.Tensor, y: tf.Tensor) => {
      const weights = Object.fromEntries(Object.entries(parameters).map(([name, parameter]) => [name, parameter.read()]));
      return dit(weights, card.config, x, tf.mul(t, card.timeScale), y, { precision });
    };
    const forward = compile((x: tf.Tensor, t: tf.Tensor, y: tf.Tensor) => evaluate(x, t, y).output, { name: 'denoiser' });
    const routed = compile(
      (x: tf.Tensor, t: tf.Tensor, y: tf.Tensor) => {
        const { output, routing } = evaluate(x, t, y);
        return [output, ...routing.map(({ indices }) => indices)];
      },
      { name: 'denoiser with routing' },
    );
    return {
      card,
      denoiser: (x, t, y) => forward.run(x, t, y),
      inspect: (onRouting) => async (x, t, y) => {
        const [output, ...indices] = (await routed.run(x, t, y)) as [tf.Tensor, ...tf.Tensor[]];
        const [times, labels, ...layers] = await Promise.all([t, y, ...indices].map((tensor) => tensor.data()));
        tf.dispose(indices);
        onRouting({ layers: layers as Int32Array[], labels: labels as Int32Array, time: times![0]! });
        return output;
      },
      dispose() {
        routed.dispose();
        forward.dispose();
        for (const parameter of Object.values(parameters)) parameter.dispose();
      },
    };
  } catch (error) {
    for (const parameter of Object.values(parameters)) parameter.dispose();
    throw error;
  } finally {
    await source.close();
  }
}
