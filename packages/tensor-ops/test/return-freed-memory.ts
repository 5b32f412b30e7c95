import koffi from 'koffi';

/** From `malloc.h` of the C library: blocks from this size on are mapped on their own. */
const M_MMAP_THRESHOLD = -3;

/**
 * Linux: freed arrays go back to the system at once, in place of staying in a heap whose gaps depend on the order in which threads ran.
 * To be called after `useTensorFlow`, which sets up koffi.
 */
export function returnFreedMemory(): void {
  const mallopt = koffi.load('libc.so.6').func('int mallopt(int parameter, int value)');
  if (mallopt(M_MMAP_THRESHOLD, 128 << 10) !== 1) throw new Error('the C library refuses the threshold');
}
