/** Starts the backend with the threads that suit the models, and brings a model to it. */
import type { ModelCard } from '@dit-moe/dit';
import { type Pipeline, type SampleSettings, settingsFor } from '@dit-moe/pipeline';
import { type OpenPipelineOptions, openPipelineFile, type PipelineFile, threadsOf } from '@dit-moe/pipeline/node';
import { type BackendName, type ChosenBackend, startBackend } from '@dit-moe/tensor-ops/node';

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

/**
 * Opens a model on the backend that suits it, after its settings were checked.
 * @param inspect sees the weights before they are brought there
 * @throws BackendError if the backend asked for is not available
 * @throws as `openPipelineFile`, its `load` and `settingsFor`
 */
export async function startPipeline(
  location: string,
  flags: OpenPipelineOptions & BackendFlags & Partial<SampleSettings>,
  inspect?: (file: PipelineFile) => Promise<void>,
): Promise<{ backend: ChosenBackend; pipeline: Pipeline; settings: SampleSettings }> {
  const file = await openPipelineFile(location, { onWarning: console.error, ...flags });
  try {
    for (const sentence of file.assumed) console.error(`assumed: ${sentence}`);
    const settings = settingsFor(file.card, flags);
    await inspect?.(file);
    const backend = await startFor([file.card], flags);
    return { backend, pipeline: await file.load(), settings };
  } finally {
    await file.close();
  }
}
