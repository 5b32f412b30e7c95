/** Starts the backend with the threads that suit the models, and brings a model to it. */
import type { ModelCard } from '@dit-moe/dit';
import { threadsFor } from '@dit-moe/dit/node';
import { type BackendName, type ChosenBackend, startBackend } from '@dit-moe/tensor-ops/node';
import { isOfPixels } from './image-space.js';
import type { OpenModel } from './model.js';
import { checkGuidance, type DescribedModel, type OpenOptions, prepareOpened } from './open-model.js';

export interface BackendFlags {
  backend: BackendName;
  threads?: number;
}

/** Starts the backend for models of these descriptions; what is slow is told on stderr. */
export function startFor(cards: readonly ModelCard[], { backend, threads }: BackendFlags): Promise<ChosenBackend> {
  return startBackend(backend, threads ?? threadsOf(cards), (message) => console.error(message));
}

/** Threads that suit all of the models. An autoencoder's ops are long enough to be split, whatever its model is. */
export function threadsOf(cards: readonly ModelCard[]): ReturnType<typeof threadsFor> {
  return cards.every(isOfPixels) ? threadsFor({ hiddenSize: Math.max(...cards.map(({ config }) => config.hiddenSize)) }) : undefined;
}

/**
 * Brings an open model to the backend that suits it, and closes its file.
 * @throws UsageError, ModelError see `checkGuidance` and `prepareOpened`
 */
export async function startModel(
  file: DescribedModel,
  flags: OpenOptions & BackendFlags & { guidance: number },
): Promise<{ backend: ChosenBackend; model: OpenModel }> {
  try {
    checkGuidance(file.card, flags.guidance);
    const backend = await startFor([file.card], flags);
    return { backend, model: await prepareOpened(file, flags) };
  } finally {
    await file.close();
  }
}
