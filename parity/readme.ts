/** What a golden folder says only in prose: its README.md is the data dictionary of the layout. Not an area of its own. */
import fs from 'node:fs';
import path from 'node:path';

/**
 * The first group of `pattern` in the README.md of `folder`, or of the nearest folder above that has one, in the parts
 * whose heading ends in `section`. Undefined where it is not said.
 */
export function stated(folder: string, section: string, pattern: RegExp): string | undefined {
  for (let at = folder; at !== path.dirname(at); at = path.dirname(at)) {
    const file = path.join(at, 'README.md');
    if (!fs.existsSync(file)) continue;
    const parts = fs.readFileSync(file, 'utf8').split(/^(?=#+ )/m);
    const own = parts.filter((part) => part.split('\n')[0].trim().endsWith(section));
    for (const part of own) {
      const found = pattern.exec(part)?.[1];
      if (found !== undefined) return found;
    }
    return undefined;
  }
  return undefined;
}
