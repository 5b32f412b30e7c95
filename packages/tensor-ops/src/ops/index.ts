export {
  gelu,
  geluActivation,
  geluActivationGradients,
  int8Swiglu,
  type SwigluOptions,
  silu,
  swiglu,
  swigluActivation,
  swigluActivationGradients,
} from './activation.js';
export { after } from './after.js';
export { type AttentionOptions, attention } from './attention.js';
export { type ConvolutionOptions, conv2d, type Padding, packFilter } from './convolution.js';
export { customGradient, customGradientWithExtra, type ForwardPass, type Gradient } from './custom-gradient.js';
export {
  firstColumns,
  firstRows,
  joinRows,
  partsOf,
  type RowParts,
  rangeTo,
  reshapeRows,
  rowCount,
  splitRows,
  stackRows,
  takeRows,
  unstackRows,
} from './dynamic-rows.js';
export { type Float64Matrix, type Float64Runtime, float64Runtime } from './float64.js';
export { fused } from './fused.js';
export { gatedResidual } from './gated-residual.js';
export { NoGradientError, valueAndGrads } from './gradients.js';
export { type GroupNormOptions, groupNorm } from './group-norm.js';
export {
  dequantizeMatrix,
  int8Product,
  int8Refusal,
  int8Tensor,
  type QuantizedMatrix,
  type QuantizedRows,
  quantizeMatrix,
  quantizeRows,
  withoutGradient,
} from './int8.js';
export { type LinearOptions, linear } from './linear.js';
export { layerNorm, layerNormModulate, modulate, type NormOptions, rmsNorm } from './norm.js';
export { oneHot } from './one-hot.js';
export { patchify, unpatchify } from './patches.js';
export { castLike, type Products, products, widen } from './products.js';
export { type InferencePrecision, type Precision, usesBf16 } from './raw-math.js';
export { broadcastTo, cumsum, mean, sum } from './reductions.js';
export { type PixelCentres, type ResizeOptions, resizeImages } from './resize.js';
export { isRounded, padMaps, roundMaps, stackMaps } from './rounded-maps.js';
export { embedding, gatherRows, permuteRows } from './rows.js';
export { argsort, bincount, invertPermutation, topK } from './sorting.js';
export { stopGradient } from './stop-gradient.js';
export { toFloat } from './to-float.js';
