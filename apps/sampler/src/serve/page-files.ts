/** The built page. */

import fs from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { OutputError } from '@dit-moe/kit';

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.wasm': 'application/wasm',
};

/**
 * All files of the page by path, such as `/index.html`.
 * @param folder default: where the build puts them, beside this program
 */
export async function readPage(
  folder = fileURLToPath(new URL('./web', import.meta.url)),
): Promise<Map<string, { type: string; content: Uint8Array }>> {
  const names = (await fs.readdir(folder).catch(() => [] as string[])).filter((name) => types[path.extname(name)] !== undefined);
  if (!names.includes('main.js')) throw new OutputError(`The page is not built: ${folder} has no main.js. Build this package first.`);
  const entries = names.map(
    async (name) => [`/${name}`, { type: types[path.extname(name)], content: await fs.readFile(path.join(folder, name)) }] as const,
  );
  return new Map(await Promise.all(entries));
}
