export { learningRateAt } from './config/learning-rate.js';
export { presets } from './config/presets.js';
export { modelConfig, parseConfig, resolveConfig } from './config/resolve.js';
export { jsonSchema, type TrainConfig, trainSettings } from './config/schema.js';
export { openData } from './data/open.js';
export type { DataSource } from './data/source.js';
export * from './errors.js';
export { type TrainOptions, type TrainResult, train } from './training/train.js';
