export * from './images/decode-image.js';
export * from './images/image-error.js';
export * from './images/preprocess.js';
export { openImageFolder } from './sources/image-folder.js';
export { type ImageSource, ImageSourceError } from './sources/image-source.js';
export { openImages } from './sources/open.js';
export { openParquet, type ParquetOptions } from './sources/parquet.js';
export { openWebDataset } from './sources/webdataset.js';
