export * from './errors.js';
export { type ImageSpace, pixelSpace } from './image-space.js';
export { openLatentSpace } from './latent-space.js';
export { type BlendedLabel, type OpenModel, prepareModel, type RoutedBatch } from './model.js';
export { type DescribedModel, type OpenOptions, openModel, openWeights } from './open-model.js';
export { type BatchOptions, type ImageRequest, type Reference, type SampleSettings, sampleBatch, sampleImages } from './sample.js';
