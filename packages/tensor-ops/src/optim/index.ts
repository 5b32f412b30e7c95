export { GradientAccumulator } from './accumulate.js';
export { AdamW, type AdamWOptions, type LateGradient } from './adamw.js';
export { clipByGlobalNorm, clipFactor, globalNorm } from './clip.js';
export { Ema } from './ema.js';
