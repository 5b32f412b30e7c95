/** What an AutoencoderKL is made of, and how that is read from the `config.json` beside its weights (the diffusers format). */
import { ArgumentError } from '@dit-moe/tensor-ops';

/** One number for all channels of the latents, or one for each. */
export type PerChannel = number | readonly number[];

/** An autoencoder, in the terms of diffusers. */
export interface AutoencoderConfig {
  /** Channels of the images (3). */
  inChannels: number;
  outChannels: number;
  /** Channels of the latents. */
  latentChannels: number;
  /** Channels of each level, finest first; every level but the last halves the size. */
  blockOutChannels: readonly number[];
  /** Residual blocks of a level of the encoder; the decoder has one more. */
  layersPerBlock: number;
  /** Groups of the group norms. */
  normNumGroups: number;
  /** Edge in pixels of the training images, and of a tile unless said otherwise. */
  sampleSize: number;
  /**
   * A latent is `(sample - shiftFactor) * scalingFactor`; numbers for each channel are what `latents_mean`, `latents_std` and
   * `scaling_factor` of an autoencoder say together.
   */
  scalingFactor: PerChannel;
  shiftFactor: PerChannel;
  /** 1 x 1 convolutions after the encoder and before the decoder. */
  useQuantConv: boolean;
  usePostQuantConv: boolean;
}

/** The number of each channel. */
export const ofChannels = (value: PerChannel, channels: number): readonly number[] =>
  typeof value === 'number' ? Array<number>(channels).fill(value) : value;

/** Stable Diffusion 1's autoencoder, which DiT uses: `stabilityai/sd-vae-ft-mse` and `-ema` differ in their weights only. */
export const stableDiffusionConfig: AutoencoderConfig = {
  inChannels: 3,
  outChannels: 3,
  latentChannels: 4,
  blockOutChannels: [128, 256, 512, 512],
  layersPerBlock: 2,
  normNumGroups: 32,
  sampleSize: 256,
  scalingFactor: 0.18215,
  shiftFactor: 0,
  useQuantConv: true,
  usePostQuantConv: true,
};

/** Pixels per latent along an edge. */
export const downscale = (config: AutoencoderConfig): number => 2 ** (config.blockOutChannels.length - 1);

/**
 * Reads a parsed `config.json`; what an early writer left out has the class's default.
 * @throws ArgumentError naming the field that is of another kind of autoencoder or makes no sense
 */
export function autoencoderConfig(json: Readonly<Record<string, unknown>>): AutoencoderConfig {
  const name = json['_class_name'];
  if (name !== undefined && name !== 'AutoencoderKL') throw new ArgumentError('config.json: _class_name', 'AutoencoderKL', name);
  for (const [field, only] of [
    ['down_block_types', 'DownEncoderBlock2D'],
    ['up_block_types', 'UpDecoderBlock2D'],
  ] as const) {
    const types = json[field] ?? [];
    if (!Array.isArray(types) || types.some((type) => type !== only))
      throw new ArgumentError(`config.json: ${field}`, `${only} only`, types);
  }
  if ((json['act_fn'] ?? 'silu') !== 'silu') throw new ArgumentError('config.json: act_fn', 'silu', json['act_fn']);
  if (json['mid_block_add_attention'] === false)
    throw new ArgumentError('config.json: mid_block_add_attention', 'true (the attention of Stable Diffusion)', false);
  const integer = (field: string, fallback: number): number => {
    const value = json[field] ?? fallback;
    if (!Number.isInteger(value) || (value as number) < 1) throw new ArgumentError(`config.json: ${field}`, 'a positive integer', value);
    return value as number;
  };
  const number = (field: string, fallback: number): number => {
    const value = json[field] ?? fallback;
    if (typeof value !== 'number' || !Number.isFinite(value)) throw new ArgumentError(`config.json: ${field}`, 'a number', value);
    return value;
  };
  const latentChannels = integer('latent_channels', 4);
  const perChannel = (field: string, least: number): readonly number[] | undefined => {
    const value = json[field] ?? undefined;
    if (value === undefined) return undefined;
    if (!Array.isArray(value) || value.length !== latentChannels || !value.every((n) => Number.isFinite(n) && n > least))
      throw new ArgumentError(
        `config.json: ${field}`,
        `${latentChannels} numbers above ${least}, one for each channel of the latents`,
        value,
      );
    return value as number[];
  };
  const [mean, deviation] = [perChannel('latents_mean', Number.NEGATIVE_INFINITY), perChannel('latents_std', 0)];
  if ((mean === undefined) !== (deviation === undefined))
    throw new ArgumentError('config.json', 'latents_mean and latents_std together', mean === undefined ? 'latents_std' : 'latents_mean');
  const scale = number('scaling_factor', 0.18215);
  const shift = number('shift_factor', 0);
  if (mean !== undefined && shift !== 0) throw new ArgumentError('config.json: shift_factor', '0 beside latents_mean', shift);
  const channels = json['block_out_channels'] ?? [64];
  const groups = integer('norm_num_groups', 32);
  if (!Array.isArray(channels) || channels.length === 0 || channels.some((c) => !Number.isInteger(c) || c < 1 || c % groups !== 0))
    throw new ArgumentError('config.json: block_out_channels', `multiples of norm_num_groups ${groups}`, channels);
  return {
    inChannels: integer('in_channels', 3),
    outChannels: integer('out_channels', 3),
    latentChannels,
    blockOutChannels: channels as number[],
    layersPerBlock: integer('layers_per_block', 1),
    normNumGroups: groups,
    sampleSize: integer('sample_size', 32),
    // As diffusers does with both: (z - mean) scaling_factor / deviation.
    scalingFactor: deviation?.map((one) => scale / one) ?? scale,
    shiftFactor: mean ?? shift,
    useQuantConv: json['use_quant_conv'] !== false,
    usePostQuantConv: json['use_post_quant_conv'] !== false,
  };
}

/** The inverse of {@link autoencoderConfig}: `config.json` as diffusers writes it. */
export function configJson(config: AutoencoderConfig): Record<string, unknown> {
  const blocks = (type: string): string[] => config.blockOutChannels.map(() => type);
  return {
    _class_name: 'AutoencoderKL',
    act_fn: 'silu',
    block_out_channels: config.blockOutChannels,
    down_block_types: blocks('DownEncoderBlock2D'),
    up_block_types: blocks('UpDecoderBlock2D'),
    in_channels: config.inChannels,
    out_channels: config.outChannels,
    latent_channels: config.latentChannels,
    layers_per_block: config.layersPerBlock,
    norm_num_groups: config.normNumGroups,
    sample_size: config.sampleSize,
    ...(typeof config.scalingFactor === 'number' && typeof config.shiftFactor === 'number'
      ? { scaling_factor: config.scalingFactor, shift_factor: config.shiftFactor }
      : {
          scaling_factor: 1,
          shift_factor: 0,
          latents_mean: ofChannels(config.shiftFactor, config.latentChannels),
          latents_std: ofChannels(config.scalingFactor, config.latentChannels).map((one) => 1 / one),
        }),
    use_quant_conv: config.useQuantConv,
    use_post_quant_conv: config.usePostQuantConv,
  };
}
