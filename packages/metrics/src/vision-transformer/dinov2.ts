/**
 * DINOv2 (Oquab et al. 2023), whose class token gives FD-DINOv2 (Stein et al. 2023): 224 x 224 by Pillow's antialiased bicubic
 * filter, ImageNet's mean and deviation, positions interpolated from the 37 x 37 of the training.
 *
 * Weights: Meta's files (`dinov2_vitl14_pretrain.pth`) or those of `facebook/dinov2-large` (safetensors); width and depth are
 * read from the tensors.
 */
import type { WeightSource } from '@dit-moe/tensor-ops/io';
import { MetricError } from '../errors.js';
import type { FeatureExtractor } from '../feature-extractor.js';
import { loadVisionExtractor, type VisionNames, type VisionNetwork } from './load-extractor.js';
import { StateDict } from './state-dict.js';

/** Side of the input, as FD-DINOv2 defines it. */
const SIDE = 224;

const shared = { patchBias: true, norm1: 'norm1', norm2: 'norm2', up: 'mlp.fc1', down: 'mlp.fc2' } as const;
const meta: VisionNames = {
  ...shared,
  classToken: 'cls_token',
  positions: 'pos_embed',
  patches: 'patch_embed.proj',
  layers: 'blocks',
  qkv: ['attn.qkv'],
  attentionOut: 'attn.proj',
  scale1: 'ls1.gamma',
  scale2: 'ls2.gamma',
  norm: 'norm',
};
const huggingFace: VisionNames = {
  ...shared,
  classToken: 'embeddings.cls_token',
  positions: 'embeddings.position_embeddings',
  patches: 'embeddings.patch_embeddings.projection',
  layers: 'encoder.layer',
  qkv: ['attention.attention.query', 'attention.attention.key', 'attention.attention.value'],
  attentionOut: 'attention.output.dense',
  scale1: 'layer_scale1.lambda1',
  scale2: 'layer_scale2.lambda1',
  norm: 'layernorm',
};

const network: VisionNetwork = {
  title: 'DINOv2',
  activation: 'gelu',
  epsilon: 1e-6,
  resize: 'pillow',
  mean: [0.485, 0.456, 0.406],
  deviation: [0.229, 0.224, 0.225],
  normalised: false,
};

/** Size of DINOv2's input. */
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
  if (dict.has('register_tokens') || dict.has('embeddings.register_tokens'))
    throw new MetricError('dinov2', 'this is a model with registers; FD-DINOv2 is defined with the one without.');
  return loadVisionExtractor(dict, dict.has(meta.positions) ? meta : huggingFace, { ...network, side });
}
