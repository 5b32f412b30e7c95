/** Starts the backend with the threads that suit the models, and brings a model to it. */
import { type ModelCard, parseKnownConfig } from '@dit-moe/dit';
import type { Progress } from '@dit-moe/kit';
import { type Pipeline, type SampleSettings, settingsFor } from '@dit-moe/pipeline';
import { type OpenPipelineOptions, openPipelineFile, type PipelineFile, threadsOf } from '@dit-moe/pipeline/node';
import { type BackendName, type ChosenBackend, startBackend } from '@dit-moe/tensor-ops/node';
import { locate } from './bundled-models.js';

export interface BackendFlags {
  backend: BackendName;
  threads?: number;
}

/** The flags about a model that `openPipelineFile` does not have. */
export interface ModelFlags extends Omit<OpenPipelineOptions, 'config'> {
  /** What the file does not say, as JSON. */
  config?: unknown;
  heads?: number;
}

/** How a model is opened as the flags say; what is passed over is told on stderr. */
export const openOptions = ({ heads, config, guideWith, ...flags }: ModelFlags): OpenPipelineOptions => ({
  onWarning: console.error,
  ...flags,
  ...(guideWith !== undefined && { guideWith: locate(guideWith) }),
  config: {
    ...(config !== undefined && parseKnownConfig(config, '--config')),
    ...(heads !== undefined && { numHeads: heads }),
  },
});

/**
 * Starts the backend for models of these descriptions; what is slow is told on stderr.
 * @throws BackendError if the backend asked for is not available
 */
export function startFor(
  cards: readonly ModelCard[],
  { backend, threads, precision }: BackendFlags & Pick<ModelFlags, 'precision'>,
  log: (message: string) => void = console.error,
): Promise<ChosenBackend> {
  return startBackend(backend, threads ?? threadsOf(cards, precision), log);
}

/**
 * Opens a model on the backend that suits it, after its settings were checked.
 * @param location name of a model that comes along, or see `openModel` of `@dit-moe/dit/node`
 * @param progress is told what is being waited for
 * @param inspect sees model and weights before anything that takes time
 * @throws BackendError if the backend asked for is not available
 * @throws as `openPipelineFile`, its `load` and `settingsFor`
 */
export async function startPipeline(
  location: string,
  flags: ModelFlags & BackendFlags & Partial<SampleSettings>,
  progress: Progress,
  inspect?: (file: PipelineFile) => Promise<void>,
): Promise<{ backend: ChosenBackend; pipeline: Pipeline; settings: SampleSettings }> {
  progress.phase('opening the model');
  const file = await openPipelineFile(locate(location), { ...openOptions(flags), onWarning: progress.log });
  try {
    for (const sentence of file.assumed) progress.log(`assumed: ${sentence}`);
    if (file.skipped.length > 0) progress.log(`not read: ${file.skipped.slice(0, 5).join(', ')}${file.skipped.length > 5 ? ', ...' : ''}`);
    const settings = settingsFor(file.card, flags, file.guide?.card);
    await inspect?.(file);
    progress.phase('starting the backend');
    const backend = await startFor([file.card], flags, progress.log);
    progress.phase('loading the weights');
    return { backend, pipeline: await file.load(), settings };
  } finally {
    await file.close();
  }
}
