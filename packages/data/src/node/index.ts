export { LatentCacheError, type LatentsHeader, numShards as numLatentShards } from './cache/header.js';
export * from './cache/latent-cache.js';
export type { SkippedImage } from './cache/shard.js';
export * from './cache/worker-shards.js';
export * from './cache/write-latents.js';
export * from './pictures/decode-image.js';
export * from './pictures/image-error.js';
export * from './pictures/preprocess.js';
export { DECODE_AT_ONCE, decodedImages } from './sources/decoded.js';
export { fingerprintOf } from './sources/fingerprint.js';
export {
  describeImages,
  type ImageSource,
  ImageSourceError,
  type ImageSourceOptions,
  type LabelSource,
  type LeftOut,
  labelSources,
} from './sources/image-source.js';
export { MAX_CLASSES } from './sources/labels.js';
export { openImages } from './sources/open.js';
export { imageSettings } from './sources/settings.js';
