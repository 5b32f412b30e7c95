/**
 * Names and shapes of an autoencoder's weights, and how three generations of files call them: `current` (diffusers since 0.15),
 * `older` diffusers, and `compvis` (the original Stable Diffusion checkpoints, with or without `first_stage_model.`).
 */
import type { AutoencoderConfig } from './config.js';

/** Names of the weights: those of diffusers today, of its older files, or of CompVis. */
export type Dialect = 'current' | 'older' | 'compvis';

/** Which half of the autoencoder. */
export type Part = 'encoder' | 'decoder';

/** Prefix of the autoencoder in checkpoints that hold a whole Stable Diffusion. */
export const COMPVIS_PREFIX = 'first_stage_model.';

/** Shapes as in PyTorch by current name: convolutions `[out, in, kh, kw]`, linear maps `[out, in]`. */
export function weightShapes(config: AutoencoderConfig, parts: readonly Part[] = ['encoder', 'decoder']): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  const convolution = (name: string, inputs: number, outputs: number, size = 3): void => {
    shapes.set(`${name}.weight`, [outputs, inputs, size, size]).set(`${name}.bias`, [outputs]);
  };
  const norm = (name: string, channels: number): void => {
    shapes.set(`${name}.weight`, [channels]).set(`${name}.bias`, [channels]);
  };
  const resnet = (name: string, inputs: number, outputs: number): void => {
    norm(`${name}.norm1`, inputs);
    convolution(`${name}.conv1`, inputs, outputs);
    norm(`${name}.norm2`, outputs);
    convolution(`${name}.conv2`, outputs, outputs);
    if (inputs !== outputs) convolution(`${name}.conv_shortcut`, inputs, outputs, 1);
  };
  const middle = (name: string, channels: number): void => {
    resnet(`${name}.resnets.0`, channels, channels);
    const attention = `${name}.attentions.0`;
    norm(`${attention}.group_norm`, channels);
    for (const map of ['to_q', 'to_k', 'to_v', 'to_out.0'])
      shapes.set(`${attention}.${map}.weight`, [channels, channels]).set(`${attention}.${map}.bias`, [channels]);
    resnet(`${name}.resnets.1`, channels, channels);
  };
  const { blockOutChannels: levels, layersPerBlock, latentChannels } = config;
  const [first, last] = [levels[0], levels.at(-1)!];
  if (parts.includes('encoder')) {
    convolution('encoder.conv_in', config.inChannels, first);
    for (const [i, channels] of levels.entries()) {
      for (let j = 0; j < layersPerBlock; j++)
        resnet(`encoder.down_blocks.${i}.resnets.${j}`, j === 0 ? (levels[i - 1] ?? first) : channels, channels);
      if (i < levels.length - 1) convolution(`encoder.down_blocks.${i}.downsamplers.0.conv`, channels, channels);
    }
    middle('encoder.mid_block', last);
    norm('encoder.conv_norm_out', last);
    convolution('encoder.conv_out', last, 2 * latentChannels);
    if (config.useQuantConv) convolution('quant_conv', 2 * latentChannels, 2 * latentChannels, 1);
  }
  if (parts.includes('decoder')) {
    if (config.usePostQuantConv) convolution('post_quant_conv', latentChannels, latentChannels, 1);
    convolution('decoder.conv_in', latentChannels, last);
    middle('decoder.mid_block', last);
    const rising = [...levels].reverse();
    for (const [i, channels] of rising.entries()) {
      for (let j = 0; j <= layersPerBlock; j++)
        resnet(`decoder.up_blocks.${i}.resnets.${j}`, j === 0 ? (rising[i - 1] ?? last) : channels, channels);
      if (i < levels.length - 1) convolution(`decoder.up_blocks.${i}.upsamplers.0.conv`, channels, channels);
    }
    norm('decoder.conv_norm_out', first);
    convolution('decoder.conv_out', first, config.outChannels);
  }
  return shapes;
}

const olderAttention: Readonly<Record<string, string>> = { to_q: 'query', to_k: 'key', to_v: 'value', 'to_out.0': 'proj_attn' };
const compvisAttention: Readonly<Record<string, string>> = { group_norm: 'norm', to_q: 'q', to_k: 'k', to_v: 'v', 'to_out.0': 'proj_out' };

/** The name that `dialect` uses (without prefix) for a current name. `levels`: number of levels, since `compvis` counts them from the output. */
export function nameIn(dialect: Dialect, current: string, levels: number): string {
  if (dialect === 'current') return current;
  const attention = /(?<=\.attentions\.0\.)(group_norm|to_q|to_k|to_v|to_out\.0)/;
  if (dialect === 'older') return current.replace(attention, (part) => olderAttention[part] ?? part);
  return current
    .replace(attention, (part) => compvisAttention[part])
    .replace('mid_block.attentions.0', 'mid.attn_1')
    .replace(/mid_block\.resnets\.(\d)/, (_, j) => `mid.block_${Number(j) + 1}`)
    .replace(/down_blocks\.(\d+)/, 'down.$1')
    .replace(/up_blocks\.(\d+)/, (_, i) => `up.${levels - 1 - Number(i)}`)
    .replace(/resnets\.(\d+)/, 'block.$1')
    .replace('downsamplers.0', 'downsample')
    .replace('upsamplers.0', 'upsample')
    .replace('conv_shortcut', 'nin_shortcut')
    .replace('conv_norm_out', 'norm_out');
}

/** The dialect of a file with these names and the prefix in front of them; `undefined` if it holds no autoencoder. */
export function detectDialect(names: readonly string[]): { dialect: Dialect; prefix: string } | undefined {
  const marks: [Dialect, RegExp][] = [
    ['current', /^(.*?)(?:en|de)coder\.mid_block\.attentions\.0\.to_q\.weight$/],
    ['older', /^(.*?)(?:en|de)coder\.mid_block\.attentions\.0\.query\.weight$/],
    ['compvis', /^(first_stage_model\.|)(?:en|de)coder\.mid\.attn_1\.q\.weight$/],
  ];
  for (const [dialect, mark] of marks) {
    for (const name of names) {
      const prefix = mark.exec(name)?.[1];
      if (prefix !== undefined) return { dialect, prefix };
    }
  }
  return undefined;
}
