export { configSchema, presets, resolveConfig, type TrainConfig } from './config.js';
export { loadImageFolder } from './data/image-folder.js';
export * from './errors.js';
export { type TrainResult, train } from './training/train.js';
