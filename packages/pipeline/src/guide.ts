/** A guide: a weaker model that a better one is led away from (autoguidance, Karras et al. 2024), and what the two must have in common. */
import { ditSizes, loadDit, type ModelCard, type ModelFile, ModelMismatchError, type TrainedDit } from '@dit-moe/dit';
import type { InferencePrecision } from '@dit-moe/tensor-ops';
import { objectiveOptions } from './conventions.js';

/** Why a model cannot be another one's guide, in words; empty if it can. Width, depth and experts may differ. */
export function guideDifferences(card: ModelCard, guide: ModelCard): string[] {
  const [needed, found] = [factsOf(card), factsOf(guide)];
  return Object.keys(needed)
    .filter((fact) => needed[fact] !== undefined && found[fact] !== undefined && needed[fact] !== found[fact])
    .map((fact) => `${fact} is ${found[fact]}, needed ${needed[fact]}`);
}

/**
 * Refuses a guide that predicts something else than the model.
 * @throws ModelMismatchError listing every difference
 */
export function checkGuide(card: ModelCard, guide: ModelCard, where: string): void {
  const differences = guideDifferences(card, guide);
  if (differences.length > 0) throw new ModelMismatchError(`The guide ${where}`, differences);
}

/** A model's description and its weights, wherever they are read from. */
export type DescribedModel = Pick<ModelFile, 'weights'> & { card: ModelCard };

/**
 * Brings a model, and its guide if there is one, to the device.
 * @throws as `loadDit`; nothing is left on the device then
 */
export async function loadWithGuide(
  model: DescribedModel,
  guide: DescribedModel | undefined,
  precision: InferencePrecision | undefined,
  onWarning?: (message: string) => void,
): Promise<[TrainedDit, TrainedDit?]> {
  const loaded = await loadDit(model, model.card, precision, onWarning);
  if (guide === undefined) return [loaded];
  try {
    return [loaded, await loadDit(guide, guide.card, precision, onWarning)];
  } catch (error) {
    loaded.dispose();
    throw error;
  }
}

/** What two predictions must agree in to be compared; latents of files that do not say theirs are taken for the same. */
function factsOf(card: ModelCard): Record<string, string | number | undefined> {
  const { config, latents } = card;
  const options = objectiveOptions(card);
  return {
    objective: options.kind,
    prediction: options.prediction ?? (options.kind === 'flow' ? 'velocity' : 'noise'),
    ...(options.kind === 'flow'
      ? { path: options.path ?? 'linear' }
      : { schedule: JSON.stringify(options.schedule ?? 'linear'), timesteps: options.steps ?? 1000 }),
    'input size': config.inputSize.join(' x '),
    'input channels': config.inChannels,
    'output channels': ditSizes(config).outChannels,
    classes: config.numClasses,
    autoencoder: latents?.vae,
    'scaling factor': latents && String(latents.scalingFactor),
    'shift factor': latents && String(latents.shiftFactor),
  };
}
