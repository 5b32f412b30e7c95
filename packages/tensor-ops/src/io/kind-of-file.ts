/** Which of the two formats of weights a file has, by its first bytes. */
import { isZip } from './torch-reader.js';

/** First bytes that tell. */
export const KIND_BYTES = 9;

/** Whether a file is one of safetensors, else one of PyTorch. A name counts only where the bytes leave it open. */
export function isSafetensors(start: Uint8Array, name: string): boolean {
  // A pickle begins with its protocol; the header of safetensors with a brace after its length.
  const isPickle = start[0] === 0x80 && start[1] >= 2 && start[1] <= 5 && start[8] !== 0x7b;
  return !isZip(start) && !isPickle && (name.endsWith('.safetensors') || start[8] === 0x7b);
}
