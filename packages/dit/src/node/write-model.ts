/** Writing models: in this project's format, or in the layouts of the reference and of diffusers, so that PyTorch loads them. */
import path from 'node:path';
import { ArgumentError } from '@dit-moe/tensor-ops';
import { encodeTensor, TorchTensorSource } from '@dit-moe/tensor-ops/io';
import {
  makeFolder,
  type TensorSource,
  writeFileAtomically,
  writeSafetensors,
  writeShardedSafetensors,
  writeTorch,
} from '@dit-moe/tensor-ops/io/node';
import { exportedShapes, exportWeights, type NamedArray } from '../checkpoints/convert.js';
import { quantizedOf, scaleShape } from '../checkpoints/int8-weights.js';
import { type Layout, recipes } from '../checkpoints/layouts.js';
import { cardToMetadata, type ModelCard } from '../checkpoints/model-card.js';
import { type DitConfig, ditSizes } from '../config.js';
import type { WeightStream } from '../upcycle/model-weights.js';
import { isInt8Matrix, isMatrix, scaleName, weightSpecs } from '../weights.js';

/** Layout and precision of a file. */
export interface WriteModelOptions {
  /** Names and form of the tensors (default `dit-moe`, this project's; it needs a card). */
  layout?: 'dit-moe' | Layout;
  /**
   * Type of the matrices (default `F32`); routers, norms, biases and tables stay float32. `I8`, for this project's layout: the large
   * matrices are integers with a scale for each output channel beside them: 0.3 of the bytes with many experts, half of a dense model's.
   */
  dtype?: 'F32' | 'F16' | 'BF16' | 'I8';
  /** Stored with this project's layout, and its configuration is that of the model; others record its objective. */
  card?: ModelCard;
  /** Called before each tensor. */
  onProgress?: (progress: { name: string; done: number; total: number }) => void;
}

/**
 * Writes a model, one tensor in memory at a time; an older file is replaced only when the new one is complete.
 *
 * @param target `name.safetensors`; `name.pt`, which holds `{ ema: state dict, args }` as the reference's loader likes it; or a
 *   folder: with the layout `diffusers` as its `from_pretrained` reads it, else `model.safetensors`, in shards beyond 5 GB
 * @returns the path to open
 * @throws ArgumentError if there is no card for this project's layout, the layout cannot express the model, or the other program would
 *   compute another function
 */
export async function writeModel(target: string, model: WeightStream, options: WriteModelOptions = {}): Promise<string> {
  const { layout = 'dit-moe', card } = options;
  const { config } = model;
  if (layout === 'dit-moe' && card === undefined)
    throw new ArgumentError('writeModel: card', 'a model card: the file must say what the model is', card);
  if (layout !== 'dit-moe' && options.dtype === 'I8')
    throw new ArgumentError(
      'writeModel: dtype',
      `F32, F16 or BF16 for the layout ${layout}: PyTorch's programs read no int8 with scales`,
      'I8',
    );
  const tensors = options.dtype === 'I8' ? int8Sources(model, options) : tensorSources(model, options);
  const metadata =
    layout === 'dit-moe' ? cardToMetadata({ ...card!, config }) : { format: 'pt', args: JSON.stringify(referenceArgs(config, card)) };
  if (target.endsWith('.safetensors')) {
    await writeSafetensors(target, tensors, metadata);
    return target;
  }
  if (/\.(pt|pth)$/.test(target)) {
    if (layout === 'dit-moe')
      throw new ArgumentError('writeModel: layout', 'one of PyTorch (qkv, flash, diffusers) for a .pt file', layout);
    const state = Object.fromEntries(tensors.map(({ name, dtype, shape, bytes }) => [name, new TorchTensorSource(dtype, shape, bytes)]));
    await writeTorch(target, { ema: state, args: referenceArgs(config, card) });
    return target;
  }
  await makeFolder(target);
  if (layout !== 'diffusers') return writeShardedSafetensors(target, 'model', tensors, metadata);
  const file = await writeShardedSafetensors(target, 'diffusion_pytorch_model', tensors, metadata);
  await writeFileAtomically(path.join(target, 'config.json'), `${JSON.stringify(diffusersConfig(config), null, 2)}\n`);
  return file;
}

/** The file's tensors in order; each takes what it needs from the stream when its turn comes. */
function tensorSources(
  model: WeightStream,
  { layout = 'dit-moe', dtype = 'F32', onProgress }: WriteModelOptions,
): (TensorSource & { dtype: NonNullable<WriteModelOptions['dtype']> })[] {
  const { config } = model;
  const specs = weightSpecs(config);
  const narrow = new Set(
    layout === 'dit-moe'
      ? Object.keys(specs).filter(isMatrix)
      : Object.entries(recipes(config, layout)).flatMap(([ours, { slices, copies }]) =>
          isMatrix(ours) ? [...slices.flat(), ...copies] : [],
        ),
  );
  const own = model.weights()[Symbol.asyncIterator]();
  const stream = layout === 'dit-moe' ? own : exportWeights(config, layout, async (name) => (await next(own, name)).data);
  const shapes =
    layout === 'dit-moe' ? Object.entries(specs).map(([name, { shape }]) => [name, shape] as const) : [...exportedShapes(config, layout)];
  return shapes.map(([name, shape], done) => {
    const type = narrow.has(name) ? dtype : ('F32' as const);
    const bytes = async () => {
      onProgress?.({ name, done, total: shapes.length });
      return encodeTensor((await next(stream, name)).data, type);
    };
    return { name, dtype: type, shape, bytes };
  });
}

/** {@link tensorSources} in int8: of a large matrix its integers, then its scales. */
function int8Sources(model: WeightStream, { onProgress }: WriteModelOptions): (TensorSource & { dtype: 'F32' | 'I8' })[] {
  const stream = model.weights()[Symbol.asyncIterator]();
  const specs = Object.entries(weightSpecs(model.config));
  return specs.flatMap(([name, { shape }], done) => {
    const read = (): Promise<NamedArray> => {
      onProgress?.({ name, done, total: specs.length });
      return next(stream, name);
    };
    if (!isInt8Matrix(name)) return [{ name, dtype: 'F32', shape, bytes: async () => encodeTensor((await read()).data, 'F32') }];
    let scale: Float32Array = new Float32Array(0);
    const bytes = async () => {
      const quantized = quantizedOf(await read());
      scale = quantized.scale;
      return encodeTensor(quantized.values, 'I8');
    };
    const scales = {
      name: scaleName(name),
      dtype: 'F32' as const,
      shape: scaleShape(shape),
      bytes: async () => encodeTensor(scale, 'F32'),
    };
    return [{ name, dtype: 'I8' as const, shape, bytes }, scales];
  });
}

async function next(stream: AsyncIterator<[string, NamedArray]>, expected: string): Promise<NamedArray> {
  const { done, value } = await stream.next();
  if (done === true || value[0] !== expected)
    throw new ArgumentError('writeModel: weights', `"${expected}" (the order of weightSpecs)`, done === true ? 'the end' : value[0]);
  return value[1];
}

/** The options of the reference's trainer that say what the model is; its loaders do not need them, ours reads them back. */
function referenceArgs(config: DitConfig, card: ModelCard | undefined): Record<string, string | number | boolean> {
  return {
    ...(card !== undefined && { rf: card.objective === 'flow' }),
    ...(card !== undefined && card.timeScale !== 1 && { time_scale: card.timeScale }),
    image_size: config.inputSize[0] * 8,
    num_classes: config.numClasses,
    num_heads: config.numHeads,
    ...(config.moe && { num_experts: config.moe.numExperts, num_experts_per_tok: config.moe.topK }),
  };
}

function diffusersConfig(config: DitConfig): Record<string, unknown> {
  const { headSize, outChannels } = ditSizes(config);
  return {
    _class_name: 'DiTTransformer2DModel',
    activation_fn: 'gelu-approximate',
    attention_bias: true,
    attention_head_dim: headSize,
    in_channels: config.inChannels,
    norm_elementwise_affine: false,
    // That of its other norms, which cannot be set, and ours.
    norm_eps: 1e-6,
    norm_type: 'ada_norm_zero',
    num_attention_heads: config.numHeads,
    // Its table has a row more, for no class.
    num_embeds_ada_norm: weightSpecs(config)['labelEmbedding.table'].shape[0] - 1,
    num_layers: config.depth,
    out_channels: outChannels,
    patch_size: config.patchSize,
    sample_size: config.inputSize[0],
  };
}
