export * from './atomic.js';
export { FileSource } from './file-source.js';
export * from './npz-file.js';
export * from './open-checkpoint.js';
export * from './safetensors-file.js';
export * from './sharded.js';
export * from './torch-file.js';
export * from './write-chunks.js';
export * from './write-sharded.js';
