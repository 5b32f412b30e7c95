export * from './array-job.js';
export type { Device } from './binding.js';
export * from './cluster/index.js';
export { type GpuGeneration, type GpuPeak, gpuPeak } from './gpu-generation.js';
export { bundleLibrary, unbundleLibrary, type WrittenBundle } from './library/bundle.js';
export {
  cacheDirectory,
  type FindOptions,
  type FoundLibrary,
  findLibtensorflow,
  LibraryError,
  type LibraryErrorCode,
  type LibrarySearch,
  TENSORFLOW_VERSION,
} from './library/index.js';
export { LibraryLoadError } from './library-load-error.js';
export * from './machine-report.js';
export { chosenGpu, type NvidiaDriver, type NvidiaGpu, nvidiaDriver } from './nvidia.js';
export { declared, type InputSpec, type PlanOptions, plan, type StepPlan } from './planning/plan.js';
export { hasVnni } from './processor.js';
export { type Profile, ProfilerError, startProfile } from './profiler.js';
export { differingNodes } from './recording/differing-nodes.js';
export { type TensorFlowOptions, type TensorFlowRuntime, useTensorFlow } from './runtime.js';
export { BackendError, type BackendName, type BackendSettings, type ChosenBackend, startBackend } from './start-backend.js';
export { RuntimeStartError, RuntimeStoppedError, TensorFlowError } from './tensorflow-error.js';
