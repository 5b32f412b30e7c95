export { type ClassifierAbout, openClassifier, saveClassifier } from './classifier-file.js';
export { type ImageSet, type ImageSetOptions, openImageSet } from './image-set.js';
export { type NetworkName, networks, type OpenNetwork, type OpenNetworkOptions, openNetwork } from './networks.js';
