/** Fixed numbers in (-1, 1) without a pattern; `salt` tells tensors apart. */
export const numbers = (shape: readonly number[], salt: number): Float32Array =>
  Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(12.9898 * (i + 1) + 78.233 * salt));
