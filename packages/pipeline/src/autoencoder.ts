/** Which autoencoder belongs to a model of latents. */
import type { ModelCard } from '@dit-moe/dit';
import { DitMoeError } from '@dit-moe/tensor-ops';
import type { AutoencoderConfig } from '@dit-moe/vae';

/** The paper's (footnote 2). */
const DEFAULT_AUTOENCODER = 'sd-vae-ft-ema';

/** The autoencoder is not that of the model's latents: pictures decoded with it would be wrong. */
export class AutoencoderMismatchError extends DitMoeError {
  static override readonly code = 'E_AUTOENCODER_MISMATCH';
  constructor(name: string, problem: string) {
    super(`The autoencoder ${name} does not fit the model: ${problem}.`, { where: name });
  }
}

/** Name of the autoencoder that a model is decoded with unless its user says otherwise: the one that its card remembers, or the paper's. */
export const autoencoderOf = ({ latents }: ModelCard): string => latents?.autoencoder ?? DEFAULT_AUTOENCODER;

/**
 * Refuses an autoencoder whose latents are not the model's.
 * @param name for the error
 * @param encoderHash sha256 of its encoder's weights
 * @throws AutoencoderMismatchError saying what differs
 */
export function checkAutoencoder(
  name: string,
  { config, encoderHash }: { config: AutoencoderConfig; encoderHash: string | undefined },
  { config: { inChannels }, latents }: ModelCard,
): void {
  const problem =
    config.latentChannels !== inChannels
      ? `its latents have ${config.latentChannels} channels, the model's ${inChannels}`
      : latents !== undefined && latents.vae !== encoderHash
        ? 'the model was trained with the latents of another encoder'
        : latents !== undefined && scaleOf(latents) !== scaleOf(config)
          ? `its latents are scaled by ${config.scalingFactor} and shifted by ${config.shiftFactor}, the model's by ${latents.scalingFactor} and ${latents.shiftFactor}`
          : undefined;
  if (problem !== undefined) throw new AutoencoderMismatchError(name, problem);
}

/** Scale and shift as text, to be compared; in float32, as files that say deviations instead of scales round differently beyond it. */
const scaleOf = ({ scalingFactor, shiftFactor }: Pick<AutoencoderConfig, 'scalingFactor' | 'shiftFactor'>): string =>
  JSON.stringify([scalingFactor, shiftFactor], (_, value: unknown) => (typeof value === 'number' ? Math.fround(value) : value));
