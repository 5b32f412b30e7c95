export { cardOf, type FoundCard, type Training } from './checkpoints/card-of.js';
export {
  exportWeights,
  type ImportOptions,
  importWeights,
  type NamedArray,
  type TensorFile,
  WeightsMismatchError,
} from './checkpoints/convert.js';
export { type InferredConfig, inferConfig, type KnownConfig } from './checkpoints/infer-config.js';
export { int8Parameters, widened } from './checkpoints/int8-weights.js';
export { type Layout, layoutOf } from './checkpoints/layouts.js';
export {
  type CardRequirements,
  cardFromMetadata,
  cardToMetadata,
  type LatentSpace,
  type ModelCard,
  ModelCardError,
  ModelMismatchError,
  requireCard,
} from './checkpoints/model-card.js';
export { loadParameters, type ModelFile, type ReadModelOptions, readModel } from './checkpoints/read-model.js';
export { type ImportedAdam, importAdam, restoreAdam } from './checkpoints/torch-optimizer.js';
export { type DitConfig, type DitSizes, ditSizes, nullLabelOf, withInputSize } from './config.js';
export { type DenseKind, denseOf } from './dense.js';
export { type DescribeOptions, describeModel, type MemoryUse, type ModelDescription } from './describe-model.js';
export { distillationLoss, hiddenDistance } from './distillation.js';
export { type DitOptions, type DitOutput, dit } from './dit.js';
export { positionEmbedding, timestepEmbedding } from './embeddings.js';
export { dropLabels } from './labels.js';
export {
  capacityScale,
  type ExpertGroupConfig,
  expertKinds,
  expertLayers,
  expertsPerToken,
  hasExperts,
  isLoadBias,
  isRouterState,
  isThreshold,
  type MoeConfig,
  type MoeLayers,
  type RouterInput,
  type RouterKind,
  type RouterLoss,
  routerLossWeights,
  samplesCompete,
  tokensCompete,
} from './moe/moe-config.js';
export { moeInFull, moeSettings } from './moe/moe-settings.js';
export type { RouterTraining } from './moe/router.js';
export { drawRouterNoise, type RouterNoiseShapes, routerNoiseShapes } from './moe/router-noise.js';
export { type Flavour, preset } from './presets.js';
export { ditSettings, parseDitConfig, parseKnownConfig } from './settings.js';
export { type BlendedLabel, type ChosenExperts, loadDit, type TrainedDit, trainedDit, UntrainedRouterError } from './trained-dit.js';
export type { WeightStream } from './upcycle/model-weights.js';
export { type ReduceOptions, reduceExperts } from './upcycle/reduce-experts.js';
export { type UpcycleOptions, upcycle } from './upcycle/upcycle.js';
export { countWeights, isExpertWeight, isInt8Matrix, isLabelTable, isMatrix, weightSpecs } from './weights.js';
