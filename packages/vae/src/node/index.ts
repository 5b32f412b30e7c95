export * from './open-autoencoder.js';
export * from './save-autoencoder.js';
