export { type ImageSet, openImageSet } from './image-set.js';
export { type NetworkName, networks, type OpenNetwork, type OpenNetworkOptions, openNetwork, weightsFolder } from './networks.js';
