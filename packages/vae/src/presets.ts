/** Published autoencoders by name. */
import { type AutoencoderConfig, stableDiffusionConfig } from './config.js';

/** A published autoencoder. */
export interface AutoencoderPreset {
  /** Where the files are on the Hugging Face hub. */
  repository: string;
  config: AutoencoderConfig;
}

/** Both have the encoder of Stable Diffusion 1 and decoders fine-tuned for longer; `-mse` is smoother, `-ema` sharper. */
export const autoencoderPresets: Readonly<Record<string, AutoencoderPreset>> = {
  'sd-vae-ft-mse': { repository: 'stabilityai/sd-vae-ft-mse', config: stableDiffusionConfig },
  'sd-vae-ft-ema': { repository: 'stabilityai/sd-vae-ft-ema', config: stableDiffusionConfig },
};
