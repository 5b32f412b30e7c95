export { GradientAccumulator } from './accumulate.js';
export { AdamW, type AdamWOptions } from './adamw.js';
export { clipByGlobalNorm, globalNorm } from './clip.js';
export { Ema } from './ema.js';
