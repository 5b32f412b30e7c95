export {
  fingerprintOf,
  LatentCacheError,
  type LatentsHeader,
  numShards as numLatentShards,
  readHeader as readLatentsHeader,
} from './cache/header.js';
export * from './cache/latent-cache.js';
export type { SkippedImage } from './cache/shard.js';
export * from './cache/worker-shards.js';
export * from './cache/write-latents.js';
export * from './pictures/decode-image.js';
export * from './pictures/image-error.js';
export * from './pictures/preprocess.js';
export { decodedImages } from './sources/decoded.js';
export { openImageFolder } from './sources/image-folder.js';
export { type ImageSource, ImageSourceError } from './sources/image-source.js';
export { openImages } from './sources/open.js';
export { openParquet, type ParquetOptions } from './sources/parquet.js';
export { openWebDataset } from './sources/webdataset.js';
