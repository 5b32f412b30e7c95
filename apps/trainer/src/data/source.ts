/** What the trainer asks of a data set, whatever it is stored in. */

import type { LatentSpace } from '@dit-moe/dit';

/** One sample to read. */
export interface SampleRequest {
  /** Number of the record, in [0, count). */
  record: number;
  /** Mirror it from left to right. */
  flip: boolean;
  /** Global index of the sample in the run: keys whatever is random in reading it. */
  index: number;
}

/** A data set of images or latents with labels. Records can be read in any order. */
export interface DataSource {
  /** Records. */
  readonly count: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** By label. */
  readonly classNames: readonly string[];
  /** Identifies the data: it differs when records are added, removed, renamed, relabelled or replaced, however they are held. */
  readonly fingerprint: string;
  /** One line: images, classes, where labels come from, and what was left out. */
  readonly summary: string;
  /** Records that cannot be read, with the reason; grows while training if images are decoded on demand. */
  readonly skipped: readonly { file: string; reason: string }[];
  /** For latents: what decodes them, for the model card. */
  readonly latents?: LatentSpace;
  /**
   * Writes samples one after the other into `out`, `[requests, channels, height, width]`; images are in [-1, 1].
   * @returns their labels
   */
  read(requests: readonly SampleRequest[], out: Float32Array): Promise<Int32Array>;
  close(): Promise<void>;
}
