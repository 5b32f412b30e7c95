/** From a state dict to an extractor: what DINOv2 and CLIP have in common; `dinov2.ts` and `clip.ts` hold what differs. */
import { resize } from '@dit-moe/data';
import { compile } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { MetricError } from '../errors.js';
import type { FeatureExtractor } from '../feature-extractor.js';
import { resample } from '../resample.js';
import { interpolatePositions } from './interpolate-positions.js';
import type { StateDict } from './state-dict.js';
import { type VisionBlock, type VisionConfig, type VisionWeights, visionTransformer } from './vision-transformer.js';

/** Every published ViT has heads of 64. */
const HEAD_SIZE = 64;

/** Names of tensors; those of a block follow the prefix `layers.N.`. */
export interface VisionNames {
  classToken: string;
  positions: string;
  /** Convolution of the patches. */
  patches: string;
  patchBias: boolean;
  preNorm?: string;
  layers: string;
  norm1: string;
  /** One matrix, or query, key and value. */
  qkv: readonly string[];
  attentionOut: string;
  scale1?: string;
  norm2: string;
  up: string;
  down: string;
  scale2?: string;
  norm: string;
  /** Map of the class token after all, without bias. */
  projection?: string;
}

/** What a network expects of its pixels and does in its blocks. */
export interface VisionNetwork extends Omit<VisionConfig, 'heads'> {
  /** In sentences, such as `DINOv2`. */
  title: string;
  /** Side of the input; without it that of the weights, else positions are interpolated. */
  side?: number;
  /** Bicubic as Pillow's, in 8 bits after each direction, or as `jax.image.resize`, without rounding. */
  resize: 'pillow' | 'float';
  /** Of the pixels in 0 ... 1, per channel. */
  mean: readonly number[];
  deviation: readonly number[];
  /** Whether features are scaled to length 1. */
  normalised: boolean;
}

/**
 * Loads the weights and compiles the extractor of the class token (`pool`), which owns them.
 * @throws MetricError if tensors are missing, or the side is no multiple of the patch
 */
export async function loadVisionExtractor(dict: StateDict, names: VisionNames, network: VisionNetwork): Promise<FeatureExtractor<'pool'>> {
  try {
    const { weights, side } = await load(dict, names, network.side);
    const width = weights.classToken.size;
    const step = compile(
      (images: tf.Tensor) => {
        const pixels = tf.div(resample(images as tf.Tensor4D, [side, side], 'bicubic'), 255);
        const x = tf.div(tf.sub(pixels, tf.tensor1d([...network.mean])), tf.tensor1d([...network.deviation])) as tf.Tensor4D;
        const token = visionTransformer(weights, { ...network, heads: width / HEAD_SIZE }, x);
        return { pool: network.normalised ? (tf.div(token, tf.norm(token, 2, 1, true)) as tf.Tensor2D) : token };
      },
      { name: dict.network },
    );
    return {
      description: `${network.title} ViT, ${weights.blocks.length} blocks of ${width}, ${side} px by antialiased bicubic`,
      async extract(images) {
        const input = network.resize === 'pillow' ? await resizedAsPillow(images, side) : tf.clone(images);
        return (await step.run(input).finally(() => input.dispose())) as { pool: tf.Tensor2D };
      },
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

async function resizedAsPillow(images: tf.Tensor4D, side: number): Promise<tf.Tensor4D> {
  const [count, height, width, channels] = images.shape;
  const { data } = resize({ data: Uint8Array.from(await images.data()), count, height, width, channels }, side, side, 'bicubic');
  return tf.tensor4d(data, [count, side, side, channels], 'int32');
}

async function load(
  dict: StateDict,
  names: VisionNames,
  wantedSide: number | undefined,
): Promise<{ weights: VisionWeights; side: number }> {
  const layers = dict.countLayers(names.layers);
  const part = (i: number, name: string) => `${names.layers}.${i}.${name}`;
  requireTensors(dict, names, layers);
  const [tokens, width] = dict.shape(names.positions).slice(-2) as [number, number];
  const [, , patch] = dict.shape(`${names.patches}.weight`) as [number, number, number];
  const trained = Math.round(Math.sqrt(tokens - 1));
  const side = wantedSide ?? trained * patch;
  if (side % patch !== 0) throw new MetricError(dict.network, `the side ${side} is not a multiple of the patch, ${patch}.`);
  const positions = interpolatePositions(await dict.values(names.positions), trained, side / patch, width);
  const blocks: VisionBlock[] = [];
  for (let i = 0; i < layers; i++)
    blocks.push({
      norm1: await dict.norm(part(i, names.norm1)),
      qkv: await dict.linear(names.qkv.map((name) => part(i, name))),
      projection: await dict.linear([part(i, names.attentionOut)]),
      ...(names.scale1 !== undefined && { scale1: await dict.tensor(part(i, names.scale1)) }),
      norm2: await dict.norm(part(i, names.norm2)),
      up: await dict.linear([part(i, names.up)]),
      down: await dict.linear([part(i, names.down)]),
      ...(names.scale2 !== undefined && { scale2: await dict.tensor(part(i, names.scale2)) }),
    });
  const weights: VisionWeights = {
    patches: await dict.patches(`${names.patches}.weight`, names.patchBias ? `${names.patches}.bias` : undefined),
    classToken: await dict.tensor(names.classToken, [1, 1, width]),
    positions: dict.keep(tf.tensor3d(positions, [1, (side / patch) ** 2 + 1, width])),
    ...(names.preNorm !== undefined && { preNorm: await dict.norm(names.preNorm) }),
    blocks,
    norm: await dict.norm(names.norm),
    ...(names.projection !== undefined && { projection: (await dict.linear([names.projection], false)).weight }),
  };
  return { weights, side };
}

function requireTensors(dict: StateDict, names: VisionNames, layers: number): void {
  const affine = (name: string) => [`${name}.weight`, `${name}.bias`];
  const given = (name: string | undefined) => (name === undefined ? [] : [name]);
  const inBlock = [
    ...[names.norm1, ...names.qkv, names.attentionOut, names.norm2, names.up, names.down].flatMap(affine),
    ...given(names.scale1),
    ...given(names.scale2),
  ];
  dict.require([
    ...[names.classToken, names.positions, `${names.patches}.weight`],
    ...(names.patchBias ? [`${names.patches}.bias`] : []),
    ...given(names.preNorm).flatMap(affine),
    ...Array.from({ length: Math.max(1, layers) }, (_, i) => inBlock.map((name) => `${names.layers}.${i}.${name}`)).flat(),
    ...affine(names.norm),
    ...given(names.projection).map((name) => `${name}.weight`),
  ]);
}
