export type { Device } from './binding.js';
export { LibraryLoadError } from './c-api.js';
export * from './library/index.js';
export { BACKEND_NAME, type TensorFlowOptions, type TensorFlowRuntime, useTensorFlow } from './runtime.js';
export { TensorFlowError } from './tensorflow-error.js';
