export { type DitConfig, type DitSizes, ditSizes, hasExperts, type MoeConfig, type MoeLayers, nullLabelOf } from './config.js';
export { type DescribeOptions, describe, type MemoryUse, type ModelDescription } from './describe.js';
export { type DitOptions, type DitOutput, type DitWeights, dit, ditWithGuidance } from './dit.js';
export { positionEmbedding, timestepEmbedding } from './embeddings.js';
export { dropLabels } from './labels.js';
export { cardFromMetadata, cardToMetadata, type ModelCard } from './model-card.js';
export { type Flavour, preset } from './presets.js';
export {
  exportReference,
  importReference,
  type NamedArray,
  type ReferenceLayout,
  referenceLayoutOf,
  referenceNames,
} from './reference-layout.js';
export { countWeights, initialWeight, isMatrix, TIMESTEP_CHANNELS, type WeightSpec, weightSpecs } from './weights.js';
