export { type OpenPipelineOptions, openPipeline, openPipelineFile, type PipelineFile, threadsOf } from './open-pipeline.js';
export { NO_AUTOENCODER, openSpace, placeOf, writeDecoder } from './open-space.js';
