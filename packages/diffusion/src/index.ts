export * from './denoiser.js';
export * from './guidance.js';
export * from './pixels.js';
export * from './rectified-flow.js';
export * from './solvers/euler.js';
export * from './solvers/solver.js';
