/** One number that tells a data set from every other. */
import { createHash } from 'node:crypto';
import { Pace } from '../pace.js';
import type { ImageSource } from './image-source.js';

/**
 * sha256 over class names, keys, labels and what the files hold: it differs when an image is added, removed, renamed, relabelled or
 * replaced, and is the same for copies, however the images are held.
 */
export async function fingerprintOf(source: ImageSource): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(source.classNames));
  const pace = new Pace();
  for (let i = 0; i < source.count; i++) {
    hash.update(`\n${source.label(i)} ${source.key(i)}`);
    if (pace.due) await pace.rest();
  }
  return hash.update(`\n${await source.content()}`).digest('hex');
}
