/** The layers of AutoencoderKL as functions of channels-last feature maps, by the names of their weights. */
import { attention, conv2d, groupNorm, isRounded, linear, type Precision, roundMaps, silu, widen } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { AutoencoderConfig } from './config.js';
import { convolveDoubled, phaseFilters, phases } from './upsampling.js';
import type { AutoencoderWeights } from './weights.js';
import { convolveWinograd } from './winograd.js';

/** Receives the output of every module, channels-last, under its name in the weights. */
export type Trace = (module: string, value: tf.Tensor) => void;

/** Precision of a pass. */
export interface PassOptions {
  /** Of convolutions and linear maps (default `f32`); group norms and the softmax are float32 always. */
  precision?: Precision;
  /** Whether feature maps are bfloat16 between the layers, too; for inference (default false). */
  rounded?: boolean;
  trace?: Trace;
}

/** Zeros before and behind a 3 x 3 convolution by its stride: the reference pads below and to the right only when it halves the size. */
export const zerosAround = { 1: [1, 1], 2: [0, 1] } as const;

/** Added to the variance of group norms. */
export const NORM_EPSILON = 1e-6;

/** Where weights prepared for inference hold the filters of a convolution of twice the size, in place of its own. */
export const phaseName = (name: string, phase: number): string => `${name}.phase.${phase}`;

/** Where they hold the four filters of {@link convolveWinograd} in place of one. */
export const winogradName = (name: string, i: number): string => `${name}.winograd.${i}`;

/** Largest number of attention scores that exist at once; 16 MiB, so that they stay in the caches. */
const MAX_SCORES = 2 ** 22;

/** `x + y` in what `x` is in. */
const sum = (x: tf.Tensor, y: tf.Tensor): tf.Tensor => tf.add(x, isRounded(x) ? roundMaps(y) : y);

export type AutoencoderLayers = ReturnType<typeof autoencoderLayers>;

export function autoencoderLayers(weights: AutoencoderWeights, config: AutoencoderConfig, { precision, trace = () => {} }: PassOptions) {
  const traced = (name: string, value: tf.Tensor): tf.Tensor => {
    trace(name, value);
    return value;
  };
  /** Scale and bias of a norm. */
  const affine = (name: string) => ({ scale: weights[`${name}.weight`], bias: weights[`${name}.bias`] });
  const outputs = (name: string): number => weights[`${name}.bias`].shape[0];
  /** @param rows zeros above and below, if they are not those of the whole map */
  const convolve = (name: string, x: tf.Tensor, stride: 1 | 2 = 1, rows: readonly [number, number] = zerosAround[stride]): tf.Tensor => {
    const bias = weights[`${name}.bias`];
    if (winogradName(name, 0) in weights) {
      const filters = [0, 1, 2, 3].map((i) => weights[winogradName(name, i)]);
      return traced(name, convolveWinograd(x, filters, bias, rows));
    }
    const filter = weights[`${name}.weight`];
    const [size, , inputs] = filter.shape.slice(-4) as [number, number, number];
    if (size === 1 && isRounded(x)) return traced(name, conv2d(x, filter, { bias }));
    if (size === 1) return traced(name, linear(x, tf.reshape(filter, [inputs, outputs(name)]), bias, { precision }));
    return traced(name, conv2d(x, filter, { stride, padding: [rows, zerosAround[stride]], bias, precision }));
  };
  /** The convolution of an image of twice the size; `rows`: zeros above and below. */
  const enlarge = (name: string, x: tf.Tensor, rows: readonly [number, number] = [1, 1]): tf.Tensor => {
    const filters = phases.map((_, i) => weights[phaseName(name, i)]);
    const known = filters.every((filter) => filter !== undefined) ? filters : phaseFilters(weights[`${name}.weight`]);
    return traced(name, convolveDoubled(x, known, weights[`${name}.bias`], rows, precision));
  };
  const norm = (name: string, x: tf.Tensor): tf.Tensor =>
    traced(name, groupNorm(x, config.normNumGroups, { ...affine(name), epsilon: NORM_EPSILON }));
  /** What a residual block adds its branch to. */
  const shortcut = (name: string, x: tf.Tensor): tf.Tensor =>
    `${name}.conv_shortcut.weight` in weights ? convolve(`${name}.conv_shortcut`, x) : x;
  const resnet = (name: string, x: tf.Tensor): tf.Tensor => {
    const hidden = convolve(`${name}.conv1`, silu(norm(`${name}.norm1`, x)));
    const branch = convolve(`${name}.conv2`, silu(norm(`${name}.norm2`, hidden)));
    return traced(name, sum(branch, shortcut(name, x)));
  };
  /** Attention between all positions, one head. */
  const attend = (name: string, x: tf.Tensor): tf.Tensor => {
    const [batch, height, width, channels] = x.shape as [number, number, number, number];
    const tokens = tf.reshape(widen(norm(`${name}.group_norm`, x)), [batch, 1, height * width, channels]);
    const map = (part: string, y: tf.Tensor): tf.Tensor =>
      linear(y, weights[`${name}.${part}.weight`], weights[`${name}.${part}.bias`], { precision });
    const queriesPerChunk = Math.max(1, Math.floor(MAX_SCORES / (batch * height * width)));
    const mixed = attention(map('to_q', tokens), map('to_k', tokens), map('to_v', tokens), { precision, queriesPerChunk });
    return traced(name, sum(x, tf.reshape(map('to_out.0', mixed), x.shape)));
  };
  const middle = (name: string, x: tf.Tensor): tf.Tensor =>
    traced(name, resnet(`${name}.resnets.1`, attend(`${name}.attentions.0`, resnet(`${name}.resnets.0`, x))));
  /** From the coarsest level of the encoder to moments. */
  const encoderEnd = (x: tf.Tensor): tf.Tensor => {
    const h = convolve('encoder.conv_out', silu(norm('encoder.conv_norm_out', middle('encoder.mid_block', x))));
    return config.useQuantConv ? convolve('quant_conv', h) : h;
  };
  /** From latents to the coarsest level of the decoder. */
  const decoderStart = (z: tf.Tensor): tf.Tensor =>
    middle('decoder.mid_block', convolve('decoder.conv_in', config.usePostQuantConv ? convolve('post_quant_conv', z) : z));
  return { affine, outputs, convolve, norm, enlarge, shortcut, resnet, encoderEnd, decoderStart, trace };
}
