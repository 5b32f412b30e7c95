/** Models on disk, of this project or another, for the commands that read them. */
import type { ModelCard, ModelFile, WeightStream } from '@dit-moe/dit';
import { openModel } from '@dit-moe/dit/node';
import { CheckpointError } from './errors.js';

/**
 * Opens the model of a run folder, a checkpoint folder or a file.
 * @param weights `ema` (the first average), another average such as `ema-0.999`, or `weights` (the last ones); default `ema`
 * @throws FormatError, UnsupportedCheckpointError, ModelMismatchError, WeightsMismatchError, HubError if there is none or it cannot be read
 */
export async function openModelFile(location: string, weights?: string): Promise<ModelFile> {
  return openModel(location, weights === undefined ? {} : { weights });
}

/** @throws CheckpointError if the file does not say what its model was trained for */
export function requireOwnCard(model: ModelFile): ModelCard {
  if (model.card === undefined)
    throw new CheckpointError(`${model.path} does not say what it was trained for; only models of this project are exported.`);
  return model.card;
}

/** Reads weights by name from a stream: those that come before the one asked for are kept until their turn. */
export function readerOf(stream: Pick<WeightStream, 'weights'>): (name: string) => Promise<Float32Array> {
  const weights = stream.weights()[Symbol.asyncIterator]();
  const waiting = new Map<string, Float32Array>();
  return async (name) => {
    for (;;) {
      const kept = waiting.get(name);
      if (kept !== undefined) {
        waiting.delete(name);
        return kept;
      }
      const { done, value } = await weights.next();
      if (done) throw new CheckpointError(`There is no weight "${name}".`);
      waiting.set(value[0], value[1].data);
    }
  };
}
