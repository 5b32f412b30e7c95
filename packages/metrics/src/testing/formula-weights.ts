/** Weights without files, for tests: every value follows from the tensor's name and its place. `test/fixtures/*.py` has the same. */
import type { WeightSource } from '@dit-moe/tensor-ops/io';

/** Values in [-1, 1), uniform to the eye. */
export function formulaValues(name: string, length: number): Float32Array {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return Float32Array.from({ length }, (_, i) => {
    let x = (hash + Math.imul(i, 0x9e3779b9)) >>> 0;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    return ((x ^ (x >>> 16)) >>> 0) / 2 ** 31 - 1;
  });
}

/**
 * Weights of these shapes: matrices and filters scaled by `sqrt(3 / inputs)`, which keeps activations of the order of one,
 * vectors `offset(name) + 0.2 r`.
 */
export function formulaWeights(
  shapes: ReadonlyMap<string, readonly number[]>,
  offset: (name: string) => number = (name) => (/weight|gamma|lambda|var/.test(name) ? 1 : 0),
): WeightSource {
  return {
    names: [...shapes.keys()],
    info: (name) => ({ dtype: 'F32', shape: shapes.get(name)! }),
    async read(name) {
      const shape = [...shapes.get(name)!];
      const inputs = shape.slice(1).reduce((a, b) => a * b, 1);
      const values = formulaValues(
        name,
        shape.reduce((a, b) => a * b, 1),
      );
      const vector = shape.length === 1;
      return { dtype: 'F32', shape, data: values.map((r) => (vector ? offset(name) + 0.2 * r : r * Math.sqrt(3 / inputs))) };
    },
  };
}
