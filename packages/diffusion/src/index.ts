export * from './beta-schedules.js';
export * from './bits-per-dimension.js';
export { type CacheSchedule, cached, checkCacheSchedule } from './cached.js';
export * from './denoiser.js';
export {
  type DiffusionModel,
  type FlowOptions,
  flowModel,
  gaussianModel,
  type PredictionOptions,
  predictClean,
  predictVelocity,
} from './diffusion-model.js';
export * from './diffusion-tables.js';
export { type FlowLosses, type FlowLossOptions, flowLosses, flowNoisy } from './flow-losses.js';
export {
  type CleanOptions,
  GaussianDiffusion,
  type GaussianDiffusionOptions,
  type GaussianPrediction,
  type ReverseStep,
  type Timestep,
  type VarianceType,
} from './gaussian-diffusion.js';
export { type DiffusionLosses, diffusionLosses, type LossType, minSnrWeights, priorBits, variationalTerm } from './gaussian-losses.js';
export * from './gaussian-path.js';
export * from './grids.js';
export * from './guidance/classifier-free.js';
export * from './guidance/guided.js';
export * from './guidance/parse-rule.js';
export * from './guidance/rules.js';

export * from './objectives.js';
export { flowPath, type NoiseLevel, type Path, type PathName } from './paths.js';
export { type Prediction, predictionWeights } from './predictions.js';
export { respacedTimesteps } from './respacing.js';
export { ddpmFields, flowFields, parseObjective } from './settings.js';
export { ddimSteps } from './solvers/ddim.js';
export { type AdaptiveOptions, dormandPrince, StepSizeError } from './solvers/dormand-prince.js';
export { type DpmSolverOptions, dpmSolverSteps } from './solvers/dpm-solver.js';
export { eulerSteps, heunSteps } from './solvers/euler.js';
export type { DiffusionForm, LastStep, SdeOptions } from './solvers/euler-maruyama.js';
export { sdeSteps } from './solvers/euler-maruyama.js';
export * from './solvers/gaussian.js';
export { type Combination, type LinearStep, type RunOptions, runSteps } from './solvers/linear-steps.js';
export { every, finish, type SolverOptions, type SolverRun, type SolverState, type StepNoise, stepNoise } from './solvers/solver.js';
export * from './solvers/table.js';
export * from './solvers/uni-pc.js';
export { sampleTimes, shiftTimes, type TimeSampling } from './time-sampling.js';
export * from './timestep-samplers.js';
