/**
 * DINOv2 (Oquab et al. 2023), whose class token gives FD-DINOv2 (Stein et al. 2023): 224 x 224 by Pillow's antialiased bicubic
 * filter, ImageNet's mean and deviation, positions interpolated from the 37 x 37 of the training.
 *
 * Weights: Meta's files (`dinov2_vitl14_pretrain.pth`) or those of `facebook/dinov2-large` (safetensors); width and depth are
 * read from the tensors.
 */
import { compile } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { MetricError } from '../errors.js';
import type { FeatureExtractor } from '../feature-extractor.js';
import { resample } from '../images/resample.js';
import type { WeightSource } from '../weight-source.js';
import { interpolatePositions } from './interpolate-positions.js';
import { StateDict } from './state-dict.js';
import { type VisionBlock, type VisionWeights, visionTransformer } from './vision-transformer.js';

/** Side of the input, as FD-DINOv2 defines it. */
const SIDE = 224;
/** Every published size has heads of 64. */
const HEAD_SIZE = 64;
const MEAN = [0.485, 0.456, 0.406];
const DEVIATION = [0.229, 0.224, 0.225];

/** Names of the tensors outside of the blocks, and of a block's. */
interface Names {
  classToken: string;
  positions: string;
  patches: string;
  norm: string;
  layers: string;
  norm1: string;
  qkv: readonly string[];
  projection: string;
  scale1: string;
  norm2: string;
  up: string;
  down: string;
  scale2: string;
}

const meta: Names = {
  classToken: 'cls_token',
  positions: 'pos_embed',
  patches: 'patch_embed.proj',
  norm: 'norm',
  layers: 'blocks',
  norm1: 'norm1',
  qkv: ['attn.qkv'],
  projection: 'attn.proj',
  scale1: 'ls1.gamma',
  norm2: 'norm2',
  up: 'mlp.fc1',
  down: 'mlp.fc2',
  scale2: 'ls2.gamma',
};
const huggingFace: Names = {
  classToken: 'embeddings.cls_token',
  positions: 'embeddings.position_embeddings',
  patches: 'embeddings.patch_embeddings.projection',
  norm: 'layernorm',
  layers: 'encoder.layer',
  norm1: 'norm1',
  qkv: ['attention.attention.query', 'attention.attention.key', 'attention.attention.value'],
  projection: 'attention.output.dense',
  scale1: 'layer_scale1.lambda1',
  norm2: 'norm2',
  up: 'mlp.fc1',
  down: 'mlp.fc2',
  scale2: 'layer_scale2.lambda1',
};

export interface Dinov2Options {
  /** Side of the input in pixels, a multiple of the patch (default 224, as published). */
  side?: number;
}

/**
 * An extractor of DINOv2's class token (`pool`): 768 dimensions of ViT-B/14, 1024 of ViT-L/14.
 *
 * @param source an open checkpoint
 * @throws MetricError if tensors are missing, or it is a model with registers or a SwiGLU MLP (ViT-g), which FD-DINOv2 does not use
 */
export async function dinov2Extractor(source: WeightSource, { side = SIDE }: Dinov2Options = {}): Promise<FeatureExtractor<'pool'>> {
  const dict = new StateDict('dinov2', source);
  const names = dict.has(meta.positions) ? meta : huggingFace;
  try {
    const weights = await load(dict, names, side);
    const [width] = dict.shape(`${names.norm}.weight`) as [number];
    const step = compile(
      (images: tf.Tensor) => {
        const pixels = tf.div(resample(images as tf.Tensor4D, [side, side], 'bicubic', { rounded: true }), 255);
        const x = tf.div(tf.sub(pixels, tf.tensor1d(MEAN)), tf.tensor1d(DEVIATION)) as tf.Tensor4D;
        return { pool: visionTransformer(weights, { heads: width / HEAD_SIZE, activation: 'gelu', epsilon: 1e-6 }, x) };
      },
      { name: 'dinov2' },
    );
    return {
      description: `DINOv2 ViT, ${weights.blocks.length} blocks of ${width}, ${side} px by antialiased bicubic`,
      extract: async (images) => (await step.run(images)) as { pool: tf.Tensor2D },
      dispose() {
        step.dispose();
        dict.dispose();
      },
    };
  } catch (error) {
    dict.dispose();
    throw error;
  }
}

async function load(dict: StateDict, names: Names, side: number): Promise<VisionWeights> {
  const layers = dict.countLayers(names.layers);
  const block = (i: number, part: string) => `${names.layers}.${i}.${part}`;
  const affine = (name: string) => [`${name}.weight`, `${name}.bias`];
  const blockParts = [...affine(names.norm1), ...names.qkv.flatMap(affine), ...affine(names.projection), names.scale1];
  blockParts.push(...affine(names.norm2), ...affine(names.up), ...affine(names.down), names.scale2);
  dict.require([
    ...[names.classToken, names.positions],
    ...affine(names.patches),
    ...affine(names.norm),
    ...Array.from({ length: Math.max(1, layers) }, (_, i) => blockParts.map((part) => block(i, part))).flat(),
  ]);
  if (dict.has('register_tokens') || dict.has('embeddings.register_tokens'))
    throw new MetricError('dinov2', 'this is a model with registers; FD-DINOv2 is defined with the one without.');
  const [, tokens, width] = dict.shape(names.positions) as [number, number, number];
  const [, , patch] = dict.shape(`${names.patches}.weight`) as [number, number, number];
  if (side % patch !== 0) throw new MetricError('dinov2', `the side ${side} is not a multiple of the patch, ${patch}.`);
  const positions = interpolatePositions(await dict.values(names.positions), Math.round(Math.sqrt(tokens - 1)), side / patch, width);
  const blocks: VisionBlock[] = [];
  for (let i = 0; i < layers; i++)
    blocks.push({
      norm1: await dict.norm(block(i, names.norm1)),
      qkv: await dict.linear(names.qkv.map((part) => block(i, part))),
      projection: await dict.linear([block(i, names.projection)]),
      scale1: await dict.tensor(block(i, names.scale1)),
      norm2: await dict.norm(block(i, names.norm2)),
      up: await dict.linear([block(i, names.up)]),
      down: await dict.linear([block(i, names.down)]),
      scale2: await dict.tensor(block(i, names.scale2)),
    });
  return {
    patches: await dict.patches(`${names.patches}.weight`, `${names.patches}.bias`),
    classToken: await dict.tensor(names.classToken, [1, 1, width]),
    positions: dict.keep(tf.tensor3d(positions, [1, (side / patch) ** 2 + 1, width])),
    blocks,
    norm: await dict.norm(names.norm),
  };
}
