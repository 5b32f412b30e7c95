export * from './compile.js';
export * from './errors.js';
export * from './ops/index.js';
export * from './optim/index.js';
export * from './parameter.js';
export * from './parameter-set.js';
export * from './random/index.js';
export * from './tensorflow-backend.js';
export { type InitialValue, initialWeight, type WeightSpec } from './weight-spec.js';
