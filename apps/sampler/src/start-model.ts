/** Starts the backend with the threads that suit the models, and brings a model to it. */
import type { ModelCard } from '@dit-moe/dit';
import { threadsFor } from '@dit-moe/dit/node';
import { type BackendName, type ChosenBackend, startBackend } from '@dit-moe/tensor-ops/node';
import { isOfPixels } from './image-space.js';
import type { OpenModel } from './model.js';
import { checkGuidance, type DescribedModel, type OpenOptions, openWeights, prepareOpened } from './open-model.js';

export interface BackendFlags {
  backend: BackendName;
  threads?: number;
}

/**
 * Starts the backend for models of these descriptions; what is slow is told on stderr.
 * @throws BackendError if the backend asked for is not available
 */
export function startFor(cards: readonly ModelCard[], { backend, threads }: BackendFlags): Promise<ChosenBackend> {
  return startBackend(backend, threads ?? threadsOf(cards), (message) => console.error(message));
}

/** Threads that suit all of the models. An autoencoder's ops are long enough to be split, whatever its model is. */
export function threadsOf(cards: readonly ModelCard[]): ReturnType<typeof threadsFor> {
  return cards.every(isOfPixels) ? threadsFor({ hiddenSize: Math.max(...cards.map(({ config }) => config.hiddenSize)) }) : undefined;
}

/**
 * Opens a model on the backend that suits it.
 * @param inspect sees the weights before they are brought there
 * @throws UsageError, ModelError see `openWeights`, `checkGuidance` and `prepareOpened`
 * @throws BackendError if the backend asked for is not available
 */
export async function startModel(
  location: string,
  flags: OpenOptions & BackendFlags & { guidance: number },
  inspect?: (file: DescribedModel) => Promise<void>,
): Promise<{ backend: ChosenBackend; model: OpenModel }> {
  const file = await openWeights(location, flags);
  try {
    checkGuidance(file.card, flags.guidance);
    await inspect?.(file);
    const backend = await startFor([file.card], flags);
    return { backend, model: await prepareOpened(file, flags) };
  } finally {
    await file.close();
  }
}
