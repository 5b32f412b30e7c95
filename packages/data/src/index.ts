export { checkBatch, type PixelBatches, rebatch } from './pictures/batches.js';
export * from './pictures/crop.js';
export * from './pictures/imagenet.js';
export { npzImageShape, npzImages, npzLabels } from './pictures/npz-images.js';
export * from './pictures/picture.js';
export * from './pictures/pixels.js';
export { type Filter, resize, type Window } from './pictures/resample.js';
export * from './pictures/rounding.js';
