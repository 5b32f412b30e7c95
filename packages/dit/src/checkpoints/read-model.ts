/** A model from any checkpoint: of this project, of the reference, of diffusers. */
import { ArgumentError, type InferencePrecision, Parameter } from '@dit-moe/tensor-ops';
import type { Checkpoint, SafetensorsDtype } from '@dit-moe/tensor-ops/io';
import * as tf from '@tensorflow/tfjs-core';
import { type DitConfig, ditSizes } from '../config.js';
import { positionEmbedding } from '../embeddings.js';
import { rotationTables } from '../rotary.js';
import { isInt8Matrix, isMatrix, scaleName, weightSpecs } from '../weights.js';
import { checkTensors, importWeights, modelTensors, type NamedArray, readFloats, type TensorFile } from './convert.js';
import { inferConfig, type KnownConfig } from './infer-config.js';
import { int8Parameters, isStoredInt8, readInt8, scaleShape } from './int8-weights.js';
import { type Layout, layoutOf, POSITIONS, ROTATION } from './layouts.js';
import { cardFromMetadata, hasCard, type ModelCard } from './model-card.js';
import { type RecordedTraining, recordedTraining } from './recorded-training.js';

/** What the caller knows of a file, and how its weights are kept. */
export interface ReadModelOptions {
  /** What the caller knows of the configuration of a foreign file; it wins over what the file says. */
  config?: KnownConfig;
  /** Options recorded beside a foreign file, such as diffusers' `config.json`; default: those in the checkpoint. */
  recorded?: Readonly<Record<string, unknown>>;
  /** `false` leaves out tensors that the model does not have (default: refuse them). */
  strict?: boolean;
}

/** A model in a file, whose weights are read when asked for. */
export interface ModelFile {
  /** Where it was opened from. */
  path: string;
  /** Names of tensors and their form: this project's (`dit-moe`) or another's. */
  layout: 'dit-moe' | Layout;
  config: DitConfig;
  /** What the file says about itself; files of others have none. */
  card?: ModelCard;
  /** What a file of others records of its training, see `cardOf`. */
  training?: RecordedTraining;
  /** What of the configuration was neither recorded nor told, as sentences. */
  assumed: readonly string[];
  /** What the file holds beside the model and was not read: names of tensors, and objects of other programs with their class. */
  skipped: readonly string[];
  checkpoint: Checkpoint;
  /**
   * Our weights, one at a time.
   * @throws WeightsMismatchError listing all tensors that are missing, unexpected or of another shape, before any is read
   */
  weights(): AsyncGenerator<[name: string, value: NamedArray]>;
  close(): Promise<void>;
}

/**
 * Describes the model in an open checkpoint and prepares reading its weights.
 * @throws ArgumentError if it is of no known layout, or a field of the configuration must be told
 */
export async function readModel(checkpoint: Checkpoint, options: ReadModelOptions = {}): Promise<ModelFile> {
  const { path } = checkpoint;
  const importOptions = { where: path, ...(options.strict !== undefined && { strict: options.strict }) };
  const common = { path, checkpoint, close: () => checkpoint.close() };
  if (hasCard(checkpoint.metadata)) {
    const card = cardFromMetadata(checkpoint.metadata, path);
    const { config } = card;
    return {
      ...common,
      layout: 'dit-moe',
      config,
      card,
      assumed: [],
      skipped: [],
      weights: () => ownWeights(config, checkpoint, importOptions),
    };
  }
  const { file: tensors, others } = modelTensors(checkpoint, path);
  const layout = layoutOf(tensors.names);
  if (layout === undefined)
    throw new ArgumentError(
      path,
      'weights of this project (with a model card), of DiT, DiT-MoE, LightningDiT or diffusers',
      `tensors such as ${checkpoint.names.slice(0, 4).join(', ')}`,
    );
  const { args, config: settings } = checkpoint.metadata;
  const recorded = options.recorded ?? recordedArgs(args ?? settings);
  const inferred = inferConfig(tensors, layout, recorded, options.config);
  const { assumed } = inferred;
  let { config } = inferred;
  if (await hasOtherPositions(tensors, layout, config)) {
    config = { ...config, positions: 'stored' };
    assumed.push("the file's table of positions, which is not the one that DiT computes");
  }
  if (layout === 'diffusers' && (await hasBlockEmbedders(tensors, config))) config = { ...config, blockEmbedders: true };
  if (layout === 'lightning') await checkRotation(tensors, config, path);
  const training = recordedTraining(recorded, layout, config, path);
  if (layout === 'lightning' && recorded['transport'] === undefined)
    assumed.push('velocity on the linear path, as the configurations of LightningDiT say');
  return {
    ...common,
    layout,
    config,
    training,
    assumed,
    skipped: [...others, ...(checkpoint.objects ?? [])],
    weights: () => importWeights(config, tensors, { ...importOptions, layout }),
  };
}

function recordedArgs(json: string | undefined): Record<string, unknown> {
  if (json === undefined) return {};
  const args = JSON.parse(json) as unknown;
  return typeof args === 'object' && args !== null ? (args as Record<string, unknown>) : {};
}

/** Largest difference of a table in PyTorch's float32 to the exact one, and what the types of files round by. */
const POSITION_TOLERANCE: Partial<Record<SafetensorsDtype, number>> = { BF16: 2 ** -8, F16: 2 ** -11 };
const POSITION_ERROR = 1e-5;

/** Whether a file has a table of positions, and it is another than DiT's. */
async function hasOtherPositions(tensors: TensorFile, layout: Layout, config: DitConfig): Promise<boolean> {
  if (layout === 'diffusers' || !tensors.names.includes(POSITIONS)) return false;
  const { grid, tokens } = ditSizes(config);
  const { shape, dtype } = tensors.info(POSITIONS);
  // One of another size is refused with the other tensors.
  if (shape.join() !== [1, tokens, config.hiddenSize].join()) return false;
  const expected = positionEmbedding(config.hiddenSize, grid, config.positionGrid);
  const tolerance = POSITION_TOLERANCE[dtype] ?? POSITION_ERROR;
  return (await readFloats(tensors, POSITIONS)).some((value, i) => !(Math.abs(value - expected[i]) <= tolerance));
}

/**
 * Whether the blocks of a diffusers model embed timestep and label each in its own way. Biases tell, which begin as different random
 * numbers and are small; whether all of the embedders are equal is seen when they are read.
 */
async function hasBlockEmbedders(tensors: TensorFile, { depth }: DitConfig): Promise<boolean> {
  const biasOf = (layer: number): string => `transformer_blocks.${layer}.norm1.emb.timestep_embedder.linear_1.bias`;
  const names = Array.from({ length: depth }, (_, layer) => biasOf(layer)).filter((name) => tensors.names.includes(name));
  const [first, ...others] = await Promise.all(names.map((name) => readFloats(tensors, name)));
  return others.some((bias) => bias.some((value, i) => value !== first[i]));
}

/**
 * Compares a file's rotary tables with those that are computed.
 * @throws ArgumentError if they differ
 */
async function checkRotation(tensors: TensorFile, config: DitConfig, path: string): Promise<void> {
  if (config.rotary !== true) return;
  const { grid, headSize } = ditSizes(config);
  const { cos, sin } = rotationTables(headSize, grid, config.positionGrid);
  for (const [name, expected] of [
    [ROTATION.cos, cos],
    [ROTATION.sin, sin],
  ] as const) {
    if (!tensors.names.includes(name)) continue;
    const tolerance = POSITION_TOLERANCE[tensors.info(name).dtype] ?? POSITION_ERROR;
    const found = await readFloats(tensors, name);
    if (found.length !== expected.length || found.some((value, i) => !(Math.abs(value - expected[i]) <= tolerance)))
      throw new ArgumentError(`${path}: ${name}`, 'the rotary positions that LightningDiT computes', 'others');
  }
}

/** Averages are stored as `ema.<decay>.<name>`. */
async function* ownWeights(
  config: DitConfig,
  checkpoint: Checkpoint,
  options: { where: string; strict?: boolean },
): AsyncGenerator<[name: string, value: NamedArray]> {
  const prefix =
    /^ema\.[\d.]+\.(?=patchEmbedding\.weight$)/.exec(checkpoint.names.find((n) => n.endsWith('patchEmbedding.weight')) ?? '')?.[0] ?? '';
  const specs = Object.entries(weightSpecs(config));
  const int8 = new Set(specs.map(([name]) => name).filter((name) => isStoredInt8(checkpoint, prefix + name)));
  const expected = specs.map(([name, { shape }]) => [prefix + name, shape] as const);
  const scales = specs.flatMap(([name, { shape }]) => (int8.has(name) ? [[scaleName(prefix + name), scaleShape(shape)] as const] : []));
  checkTensors(checkpoint, new Map([...expected, ...scales]), options);
  for (const [name, { shape }] of specs) {
    const stored = prefix + name;
    yield [name, int8.has(name) ? await readInt8(checkpoint, stored, shape) : { shape, data: await readFloats(checkpoint, stored) }];
  }
}

/**
 * Puts a model's weights on the device, one at a time, so that the host never holds more than one.
 *
 * @param options `precision` (default `f32`) is for inference: `bf16` keeps matrices as bfloat16, half the memory; `int8` the large ones as
 *   integers with their scales beside them, 0.3 of it with many experts to a half, which `int8Refusal` must allow
 * @returns weights by name; the caller disposes them
 */
export async function loadParameters(
  model: Pick<ModelFile, 'weights'>,
  options: { precision?: InferencePrecision; onProgress?: (name: string) => void } = {},
): Promise<Record<string, Parameter>> {
  const parameters: Record<string, Parameter> = {};
  try {
    for await (const [name, weight] of model.weights()) {
      options.onProgress?.(name);
      if (options.precision === 'int8' && isInt8Matrix(name)) {
        Object.assign(parameters, int8Parameters(name, weight));
        continue;
      }
      const { shape, data } = weight;
      const value = tf.tensor(data, [...shape]);
      parameters[name] = new Parameter(name, value, options.precision === 'bf16' && isMatrix(name) ? 'bfloat16' : 'float32');
      value.dispose();
    }
    return parameters;
  } catch (error) {
    for (const parameter of Object.values(parameters)) parameter.dispose();
    throw error;
  }
}
