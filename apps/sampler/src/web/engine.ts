/** Where the page gets its samples from: the server, or a model inside the browser. */
import type { ModelInfo, SampleEvent, SampleRequest } from '../serve/protocol.js';
import type { SolverChoice } from '../serve/solver-choices.js';

export interface Engine {
  /** Where the images are computed, for people. */
  readonly place: string;
  models(): Promise<readonly ModelInfo[]>;
  /** Samples; a refusal or failure comes as an exception. */
  sample(request: SampleRequest, signal: AbortSignal, onEvent: (event: SampleEvent) => void): Promise<void>;
}

/** `config.json` beside the page. */
export type PageConfig = { solvers: readonly SolverChoice[] } & (
  | { engine: 'server' }
  | { engine: 'browser'; models: readonly (ModelInfo & { file: string })[] }
);
