/** Where the page gets its samples from: the server, or a model inside the browser. */
import type { AutoencoderConfig } from '@dit-moe/vae';
import type { Choices } from '../serve/choices.js';
import type { ModelInfo, SampleEvent, SampleRequest } from '../serve/protocol.js';

export interface Engine {
  /**
   * Where the images are computed, for people, as soon as it is known.
   * @throws Error if nothing can be computed there
   */
  place(): Promise<string>;
  models(): Promise<readonly ModelInfo[]>;
  /**
   * Samples.
   * @throws RefusalError, or any failure
   */
  sample(request: SampleRequest, signal: AbortSignal, onEvent: (event: SampleEvent) => void): Promise<void>;
}

/** Something that was asked for is not possible as it is. */
export class RefusalError extends Error {
  constructor(
    message: string,
    /** For programs, as the server's errors have it. */
    readonly code?: string,
    /** Names the setting that it is about, such as `sample: cache`. */
    readonly where?: string,
  ) {
    super(message);
  }
}

/** A model in files beside the page. */
export interface BrowserModel extends ModelInfo {
  /** Its weights and card. */
  file: string;
  /** Of a model of latents: the decoder of its autoencoder, or none for rough pictures in the size of the latents. */
  decoder?: { file: string; config: AutoencoderConfig };
  /** Answer to its `firstRequest`, made when the page was written: an event on each line. */
  first?: string;
  /** How it was trained, where its file does not say so. */
  objective?: Objective | undefined;
}

export type Objective = 'flow' | 'ddpm';

/** `config.json` beside the page. */
export type PageConfig = Choices & ({ engine: 'server' } | { engine: 'browser'; models: readonly BrowserModel[] });
