/** Opens the data set that a configuration names, without what it holds out. */
import { UsageError } from '@dit-moe/kit';
import type { TrainConfig } from '../config/schema.js';
import { openImageData } from './images.js';
import { openLatents } from './latents.js';
import { trainingPart } from './part.js';
import type { DataSource } from './source.js';

/**
 * Opens the data set that a configuration names.
 * @throws UsageError if the configuration names none
 * @throws DataError if it cannot be used
 */
export async function openData(config: TrainConfig): Promise<DataSource> {
  const { data, seed } = config;
  const { kind, path, flip, ...options } = data;
  if (path === undefined)
    throw new UsageError(`The configuration names no data: give --data FOLDER${kind === 'latents' ? ' with what encode wrote' : ''}.`);
  const part = trainingPart(config);
  return kind === 'latents' ? openLatents(path, { flip, seed }, part) : openImageData(path, options, part);
}
