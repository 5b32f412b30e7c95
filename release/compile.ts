/** Compiles programs as a strict project of a stranger does. */
import fs from 'node:fs';
import path from 'node:path';
import { root } from './packages.js';
import { run } from './run.js';

/** A strict project's settings; tfjs-core's own declarations need `skipLibCheck`. */
const strict = {
  target: 'es2022',
  lib: ['es2023', 'dom'],
  module: 'nodenext',
  types: ['node'],
  strict: true,
  noUncheckedIndexedAccess: true,
  exactOptionalPropertyTypes: true,
  skipLibCheck: true,
};

/** Compiles TypeScript files of a project strictly, to JavaScript beside them. */
export async function compile(cwd: string, files: readonly string[], options: Record<string, unknown> = {}): Promise<void> {
  fs.writeFileSync(path.join(cwd, 'tsconfig.json'), JSON.stringify({ compilerOptions: { ...strict, ...options }, files }));
  await run(process.execPath, [path.join(root, 'node_modules/typescript/bin/tsc'), '-p', cwd], { cwd });
}
