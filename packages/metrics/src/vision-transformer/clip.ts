/**
 * The image encoder of CLIP (Radford et al. 2021), whose embeddings give CMMD (Jayasumana et al. 2024): ViT-L/14 at 336 px,
 * antialiased bicubic without rounding (`jax.image.resize`), CLIP's mean and deviation, embeddings of length 1.
 *
 * Weights: `openai/clip-vit-large-patch14-336` (safetensors); width, depth and side are read from the tensors.
 */
import { compile } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { FeatureExtractor } from '../feature-extractor.js';
import { resample } from '../images/resample.js';
import type { WeightSource } from '../weight-source.js';
import { StateDict } from './state-dict.js';
import { type VisionBlock, type VisionWeights, visionTransformer } from './vision-transformer.js';

/** Every published ViT has heads of 64. */
const HEAD_SIZE = 64;
const MEAN = [0.48145466, 0.4578275, 0.40821073];
const DEVIATION = [0.26862954, 0.26130258, 0.27577711];

const ROOT = 'vision_model';
const LAYERS = `${ROOT}.encoder.layers`;

/**
 * An extractor of CLIP's image embeddings of length 1 (`pool`): 768 dimensions of ViT-L/14.
 *
 * @param source an open checkpoint; its text encoder is not read
 * @throws MetricError if tensors are missing
 */
export async function clipExtractor(source: WeightSource): Promise<FeatureExtractor<'pool'>> {
  const dict = new StateDict('clip', source);
  try {
    const { weights, width, side } = await load(dict);
    const step = compile(
      (images: tf.Tensor) => {
        const pixels = tf.div(resample(images as tf.Tensor4D, [side, side], 'bicubic'), 255);
        const x = tf.div(tf.sub(pixels, tf.tensor1d(MEAN)), tf.tensor1d(DEVIATION)) as tf.Tensor4D;
        const embedding = visionTransformer(weights, { heads: width / HEAD_SIZE, activation: 'quick-gelu', epsilon: 1e-5 }, x);
        return { pool: tf.div(embedding, tf.sqrt(tf.sum(tf.square(embedding), 1, true))) as tf.Tensor2D };
      },
      { name: 'clip' },
    );
    return {
      description: `CLIP ViT, ${weights.blocks.length} blocks of ${width}, ${side} px by antialiased bicubic`,
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

async function load(dict: StateDict): Promise<{ weights: VisionWeights; width: number; side: number }> {
  const layers = dict.countLayers(LAYERS);
  const affine = (name: string) => [`${name}.weight`, `${name}.bias`];
  const inBlock = ['layer_norm1', 'self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj', 'self_attn.out_proj'];
  inBlock.push('layer_norm2', 'mlp.fc1', 'mlp.fc2');
  const embeddings = `${ROOT}.embeddings`;
  dict.require([
    ...['class_embedding', 'patch_embedding.weight', 'position_embedding.weight'].map((name) => `${embeddings}.${name}`),
    // The misspelling is the file's.
    ...affine(`${ROOT}.pre_layrnorm`),
    ...Array.from({ length: Math.max(1, layers) }, (_, i) => inBlock.flatMap((part) => affine(`${LAYERS}.${i}.${part}`))).flat(),
    ...affine(`${ROOT}.post_layernorm`),
    'visual_projection.weight',
  ]);
  const [tokens, width] = dict.shape(`${embeddings}.position_embedding.weight`) as [number, number];
  const [, , patch] = dict.shape(`${embeddings}.patch_embedding.weight`) as [number, number, number];
  const blocks: VisionBlock[] = [];
  for (let i = 0; i < layers; i++) {
    const part = (name: string) => `${LAYERS}.${i}.${name}`;
    blocks.push({
      norm1: await dict.norm(part('layer_norm1')),
      qkv: await dict.linear(['q_proj', 'k_proj', 'v_proj'].map((name) => part(`self_attn.${name}`))),
      projection: await dict.linear([part('self_attn.out_proj')]),
      norm2: await dict.norm(part('layer_norm2')),
      up: await dict.linear([part('mlp.fc1')]),
      down: await dict.linear([part('mlp.fc2')]),
    });
  }
  const weights: VisionWeights = {
    patches: await dict.patches(`${embeddings}.patch_embedding.weight`),
    classToken: await dict.tensor(`${embeddings}.class_embedding`, [1, 1, width]),
    positions: await dict.tensor(`${embeddings}.position_embedding.weight`, [1, tokens, width]),
    preNorm: await dict.norm(`${ROOT}.pre_layrnorm`),
    blocks,
    norm: await dict.norm(`${ROOT}.post_layernorm`),
    projection: (await dict.linear(['visual_projection'], false)).weight,
  };
  return { weights, width, side: Math.round(Math.sqrt(tokens - 1)) * patch };
}
