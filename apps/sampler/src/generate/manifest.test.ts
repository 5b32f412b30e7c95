import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { MANIFEST, readManifest } from './manifest.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'manifest-'));
afterAll(() => fs.rmSync(root, { recursive: true }));

test('that is missing is a mistake of who calls, one that is damaged a damaged file', async () => {
  await expect(readManifest(root)).rejects.toMatchObject({ code: 'E_USAGE', message: expect.stringMatching(/has begun/) });
  for (const content of ['', '{"format": 1,', 'null', '[]', '{"format": 2}', '{"format": 1, "images": -1}']) {
    fs.writeFileSync(path.join(root, MANIFEST), content);
    await expect(readManifest(root), content).rejects.toMatchObject({ code: 'E_FORMAT', message: expect.stringMatching(/damaged/) });
  }
});
