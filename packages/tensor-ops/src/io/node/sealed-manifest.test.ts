import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checkFiles, hashFile, MANIFEST, readManifest, sealManifest } from './index.js';

let folder: string;
beforeEach(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'manifest-'));
  fs.writeFileSync(path.join(folder, 'a'), 'content');
  const files = { a: { bytes: 7, sha256: await hashFile(path.join(folder, 'a')) } };
  fs.writeFileSync(path.join(folder, MANIFEST), JSON.stringify(sealManifest({ step: 3, files })));
});
afterEach(() => fs.rmSync(folder, { recursive: true }));

const check = async () => checkFiles(folder, await readManifest(folder));

test('a folder as it was written passes', async () => {
  expect(await readManifest<{ step: number }>(folder)).toMatchObject({ step: 3 });
  await check();
});

test.each<[string, (file: string, manifest: string) => void, RegExp]>([
  ['a flipped bit', (file) => fs.writeFileSync(file, 'contenu'), /sha256 is not that of the manifest/],
  ['a cut file', (file) => fs.truncateSync(file, 3), /should have 7 bytes, but has 3/],
  ['a missing file', (file) => fs.rmSync(file), /is missing/],
  [
    'another manifest',
    (_, manifest) => fs.writeFileSync(manifest, fs.readFileSync(manifest, 'utf8').replace('3', '4')),
    /not that of its content/,
  ],
  ['an empty manifest', (_, manifest) => fs.writeFileSync(manifest, ''), /cannot be read/],
  ['a null', (_, manifest) => fs.writeFileSync(manifest, 'null'), /lists no files/],
  ['no manifest', (_, manifest) => fs.rmSync(manifest), /cannot be read/],
])('%s is refused', async (_name, damage, message) => {
  damage(path.join(folder, 'a'), path.join(folder, MANIFEST));
  await expect(check()).rejects.toMatchObject({ code: 'E_CHECKPOINT_DAMAGED', message });
});
