/** The trained model that a new one is made of, for `upcycle` and `reduce`. */
import { cardOf, type LatentSpace, type ModelCard, type ModelFile, parseKnownConfig, type Training } from '@dit-moe/dit';
import { type OpenModelOptions, openModel } from '@dit-moe/dit/node';
import { refuseSit } from '../training/initial-weights.js';

/** What the options say of it. */
export interface SourceFlags extends Pick<OpenModelOptions, 'weights' | 'strict'>, Training {
  /** What the file does not say, as JSON. */
  config?: unknown;
  heads?: number;
}

export interface SourceModel {
  model: ModelFile;
  /** What the model is, with its latents. */
  card: ModelCard;
  assumed: readonly string[];
}

/** Stable Diffusion's latents, which published DiT models work on, and their channels. */
const STABLE_DIFFUSION: LatentSpace = { scalingFactor: 0.18215, shiftFactor: 0, downsampling: 8, vae: '' };
const STABLE_DIFFUSION_CHANNELS = 4;

/**
 * Opens it; the caller closes the model.
 * @throws CheckpointError for models with SiT's time and velocity, from which no run can go on
 * @throws as `openModel` and `cardOf`
 */
export async function openSource(location: string, flags: SourceFlags): Promise<SourceModel> {
  const { weights, strict, config, heads, objective, convention, timeScale } = flags;
  const known = { ...(config !== undefined && parseKnownConfig(config, '--config')), ...(heads !== undefined && { numHeads: heads }) };
  const model = await openModel(location, { weights, strict, config: known, onWarning: console.error });
  try {
    const { card, assumed } = cardOf(model, { objective, convention, timeScale });
    refuseSit(model.path, card);
    const ofLatents = model.card === undefined && card.config.inChannels === STABLE_DIFFUSION_CHANNELS;
    return {
      model,
      card: ofLatents ? { ...card, latents: STABLE_DIFFUSION } : card,
      assumed: [...model.assumed, ...assumed, ...(ofLatents ? ['the four channels are latents of Stable Diffusion'] : [])],
    };
  } catch (error) {
    await model.close();
    throw error;
  }
}
