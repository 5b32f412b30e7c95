export { type DitConfig, type DitSizes, ditSizes, type MoeConfig } from './config.js';
export { type DitOptions, type DitOutput, type DitWeights, dit, ditWithGuidance } from './dit.js';
export { positionEmbedding, timestepEmbedding } from './embeddings.js';
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
export { countWeights, initialWeight, TIMESTEP_CHANNELS, type WeightSpec, weightSpecs } from './weights.js';
