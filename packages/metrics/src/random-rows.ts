import { permutation } from '@dit-moe/tensor-ops';

/** `size` different rows of 0 ... `count` - 1 in random order, which seed, purpose and epoch decide. */
export function randomRows(count: number, size: number, seed: number, purpose: string, epoch = 0): Int32Array {
  const row = permutation({ seed, purpose, epoch }, count);
  return Int32Array.from({ length: size }, (_, i) => row(i));
}
