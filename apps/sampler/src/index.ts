export * from './errors.js';
export { findModel, type OpenModel, openModel, type WeightChoice } from './model.js';
export { type SampleSettings, sampleImages } from './sample.js';
