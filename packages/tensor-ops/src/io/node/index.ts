export * from './atomic.js';
export * from './safetensors-file.js';
