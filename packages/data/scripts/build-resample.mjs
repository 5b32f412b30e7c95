/** Assembles src/pictures/resample.wat into src/pictures/resample-wasm.ts: `node scripts/build-resample.mjs`. */
import fs from 'node:fs/promises';
import loadWabt from 'wabt';

const folder = new URL('../src/pictures/', import.meta.url);
const wabt = await loadWabt();
const module = wabt.parseWat('resample.wat', await fs.readFile(new URL('resample.wat', folder), 'utf8'), { simd: true });
const { buffer } = module.toBinary({});
const text = Buffer.from(buffer)
  .toString('base64')
  .replace(/.{100}/g, "$&' +\n  '");
await fs.writeFile(
  new URL('resample-wasm.ts', folder),
  `/** resample.wat as a WebAssembly module, made by scripts/build-resample.mjs. */\nexport const RESAMPLE_WASM =\n  '${text}';\n`,
);
