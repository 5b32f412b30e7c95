/** Where the page gets its samples from: the server, or a model inside the browser. */
import type { AutoencoderConfig } from '@dit-moe/vae';
import type { Choices } from '../serve/choices.js';
import type { ModelInfo, SampleEvent, SampleRequest } from '../serve/protocol.js';

export interface Engine {
  /** Where the images are computed, for people. */
  readonly place: string;
  models(): Promise<readonly ModelInfo[]>;
  /** Samples; a refusal or failure comes as an exception. */
  sample(request: SampleRequest, signal: AbortSignal, onEvent: (event: SampleEvent) => void): Promise<void>;
}

/** A model in files beside the page. */
export interface BrowserModel extends ModelInfo {
  /** Its weights and card. */
  file: string;
  /** Of a model of latents: the decoder of its autoencoder, or none for rough pictures in the size of the latents. */
  decoder?: { file: string; config: AutoencoderConfig };
}

/** `config.json` beside the page. */
export type PageConfig = Choices & ({ engine: 'server' } | { engine: 'browser'; models: readonly BrowserModel[] });
