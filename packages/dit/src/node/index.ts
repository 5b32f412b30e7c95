export { type OpenModelOptions, openModel } from './open-model.js';
export { type ThreadUse, threadsFor } from './threads.js';
export { type WriteModelOptions, writeModel } from './write-model.js';
