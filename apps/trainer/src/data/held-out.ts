/** Images that training never sees: a part of its data, or a data set of their own. */
import { DataError } from '@dit-moe/kit';
import type { TrainConfig } from '../config/schema.js';
import { openHeldOutImages } from './images.js';
import { openLatents } from './latents.js';
import { partsOf } from './part.js';
import type { DataSource } from './source.js';

/**
 * Opens the held-out images of a run. What is random in reading them depends on `validation.seed` alone.
 * @param training what is trained on: the held-out images get its size and its class numbers
 * @throws DataError if they are of other classes, or are latents of another size or autoencoder
 */
export async function openHeldOut({ data, validation }: TrainConfig, training: DataSource): Promise<DataSource> {
  const { share, seed, path, split } = validation!;
  const { kind, path: trained, ...options } = data;
  const place = path ?? trained!;
  const part = share === undefined ? undefined : partsOf({ share, seed }).heldOut;
  if (kind === 'latents') {
    const source = await openLatents(place, { flip: false, seed }, part);
    return checked(source, () => withLatentsOf(training, relabelled(source, training.classNames, place), place));
  }
  const images = { ...options, size: training.height, ...(path !== undefined && { split }) };
  const source = await openHeldOutImages(place, images, part);
  return checked(source, () => relabelled(source, training.classNames, place));
}

/** Closes a source that does not fit. */
async function checked(source: DataSource, check: () => DataSource): Promise<DataSource> {
  try {
    return check();
  } catch (error) {
    await source.close();
    throw error;
  }
}

function withLatentsOf(training: DataSource, source: DataSource, place: string): DataSource {
  const shape = ({ channels, height, width }: DataSource): string => `${channels} x ${height} x ${width}`;
  if (shape(source) !== shape(training))
    throw new DataError(`validation.path: the latents in ${place} are ${shape(source)}, those to train on ${shape(training)}.`);
  if (source.latents?.vae !== training.latents?.vae)
    throw new DataError(`validation.path: the latents in ${place} are of another autoencoder than those to train on.`);
  return source;
}

/** A source with the class numbers of another. */
function relabelled(source: DataSource, classNames: readonly string[], place: string): DataSource {
  const numbers = new Map(classNames.map((name, label) => [name, label]));
  const foreign = source.classNames.filter((name) => !numbers.has(name));
  if (foreign.length > 0)
    throw new DataError(
      `validation.path: ${place} has ${foreign.length === 1 ? `the class ${foreign[0]}, which` : `${foreign.length} classes, such as ${foreign[0]}, which`} the training data has not.`,
    );
  // Beyond the names lies the label of no class.
  const labelOf = (label: number): number =>
    label < source.classNames.length ? numbers.get(source.classNames[label])! : classNames.length;
  const { count, channels, height, width, fingerprint, summary, skipped, latents } = source;
  return {
    ...{ count, channels, height, width, classNames, fingerprint, summary, skipped, ...(latents && { latents }) },
    read: async (requests, out) => (await source.read(requests, out)).map(labelOf),
    close: () => source.close(),
  };
}
