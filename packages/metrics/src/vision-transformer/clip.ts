/**
 * The image encoder of CLIP (Radford et al. 2021), whose embeddings give CMMD (Jayasumana et al. 2024): ViT-L/14 at 336 px,
 * antialiased bicubic without rounding (`jax.image.resize`), CLIP's mean and deviation, embeddings of length 1.
 *
 * Weights: `openai/clip-vit-large-patch14-336` (safetensors); width, depth and side are read from the tensors.
 */
import type { WeightSource } from '@dit-moe/tensor-ops/io';
import type { FeatureExtractor } from '../feature-extractor.js';
import { loadVisionExtractor, type VisionNames, type VisionNetwork } from './load-extractor.js';
import { StateDict } from './state-dict.js';

const names: VisionNames = {
  classToken: 'vision_model.embeddings.class_embedding',
  positions: 'vision_model.embeddings.position_embedding.weight',
  patches: 'vision_model.embeddings.patch_embedding',
  patchBias: false,
  // The misspelling is the file's.
  preNorm: 'vision_model.pre_layrnorm',
  layers: 'vision_model.encoder.layers',
  norm1: 'layer_norm1',
  qkv: ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'],
  attentionOut: 'self_attn.out_proj',
  norm2: 'layer_norm2',
  up: 'mlp.fc1',
  down: 'mlp.fc2',
  norm: 'vision_model.post_layernorm',
  projection: 'visual_projection',
};

const network: VisionNetwork = {
  title: 'CLIP',
  activation: 'quick-gelu',
  epsilon: 1e-5,
  resize: 'float',
  mean: [0.48145466, 0.4578275, 0.40821073],
  deviation: [0.26862954, 0.26130258, 0.27577711],
  normalised: true,
};

/**
 * An extractor of CLIP's image embeddings of length 1 (`pool`): 768 dimensions of ViT-L/14.
 *
 * @param source an open checkpoint; its text encoder is not read
 * @throws MetricError if tensors are missing
 */
export async function clipExtractor(source: WeightSource): Promise<FeatureExtractor<'pool'>> {
  return loadVisionExtractor(new StateDict('clip', source), names, network);
}
