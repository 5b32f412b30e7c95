export * from './autoencoder.js';
export * from './config.js';
export * from './posterior.js';
export * from './tiling.js';
export * from './weight-names.js';
export * from './weights.js';
