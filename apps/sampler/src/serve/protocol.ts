/** What page and server say to each other; also what the page and the model inside the browser do. */
import type { SamplingDefaults } from '@dit-moe/pipeline';

/** A model that can be chosen. */
export interface ModelInfo {
  /** For requests. */
  id: string;
  /** For people. */
  name: string;
  /** Training steps. */
  step: number;
  classNames: readonly string[];
  /** Size of the pictures in pixels. */
  height: number;
  width: number;
  channels: number;
  /** Patches per column and row. */
  grid: readonly [number, number];
  /** Layers with experts and experts of each; 0 for dense models. */
  layers: number;
  experts: number;
  /** Who chooses the experts, by its word; empty for dense models. */
  router: string;
  /** Experts of a patch in each layer with experts, on average where {@link expertsVary}. */
  expertsPerPatch: number[];
  /** Whether the number of a patch's experts varies. */
  expertsVary: boolean;
  /** Whether a picture can be given to start from: for latents that needs an autoencoder with its encoder. */
  encodes: boolean;
  /** Whether it can be guided without another model: other scales than 1. */
  guided: boolean;
  /** Models that it can be guided with, by their ids. */
  guides: readonly string[];
  /** How it is sampled unless a request says otherwise. */
  defaults: SamplingDefaults;
}

/** What to sample. */
export interface SampleRequest {
  model: string;
  /** Class of each image; image `i` has the noise of (seed, i). */
  labels: number[];
  seed: number;
  /** Default: the model's, as for the other settings. */
  solver?: string;
  /** Default: the solver's own. */
  steps?: number;
  guidance?: number;
  /** A rule of guidance as text, such as `apg:momentum=-0.5` (default: the model's, else `cfg`). */
  guidanceRule?: string;
  /** A weaker model to guide with: the id of one of the model's `guides` (default: the model itself without its label). */
  guideWith?: string;
  /** Times in which guidance applies, 1 is noise (default: all). */
  interval?: readonly [number, number];
  /** Evaluations of the model to leave out and extrapolate (default: none). */
  cache?: 'fast' | 'exact' | number;
  /** A picture to start from, or to complete (default: noise alone). */
  init?: StartPixels;
  /** Only in time that nobody else wants: it goes after all others, and ends with `E_GAVE_WAY` when one comes (default false). */
  idle?: boolean;
}

/** A picture of the size of the model's pictures, as bytes in base64. */
export interface StartPixels {
  /** RGB `[height, width, 3]`. */
  pixels: string;
  /** How much noise, in (0, 1]: 1 keeps nothing of the picture (default 0.6; 1 with a mask). */
  strength?: number;
  /** `[height, width]`: above 127 where the image is to be new. */
  mask?: string;
}

/** One line of the answer. Bytes are in base64. */
export type SampleEvent =
  | { type: 'queued'; position: number }
  | {
      type: 'step';
      step: number;
      steps: number;
      /** Time reached, as the model is told it. */
      time: number;
      /** The clean images as predicted now: bytes `[B, height, width, channels]`. */
      pixels: string;
      height: number;
      width: number;
      channels: number;
      /**
       * Experts of every patch, best first: bytes `[layers, B, patches, slots]`, empty slots with the number of experts; absent without
       * experts.
       */
      experts?: string;
    }
  | {
      type: 'done';
      /** A PNG for each image, with its settings in the `Comment` text. */
      images: string[];
      height: number;
      width: number;
      seconds: number;
    }
  | { type: 'error'; code: string; message: string };

/** Limits of a request, the same in the page's form, the API and its description. */
export const limits = { images: 64, steps: 250, guidance: 20 } as const;

export function toBase64(bytes: Uint8Array): string {
  let text = '';
  // In parts: a call has a limited number of arguments.
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}

export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}
