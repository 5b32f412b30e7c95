/** `pnpm docs:reference`: writes the pages that follow from the code. */
import fs from 'node:fs';
import path from 'node:path';
import { root } from '../release/packages.js';
import { generatedPages } from './reference/index.js';

for (const [file, text] of Object.entries(await generatedPages())) fs.writeFileSync(path.join(root, 'docs/reference', file), text);
