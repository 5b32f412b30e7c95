/** The layer on WebGPU against the cpu backend: output, loss and every gradient. */
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { noBrowser } from '../../../testing/browser.js';
import { runInBrowser } from '../../tensor-ops/test/in-browser.js';
import { cases, type Differences } from './webgpu-page.js';

if (noBrowser !== undefined) test.skip(`WebGPU is NOT tested: ${noBrowser}`, () => {});

describe.runIf(noBrowser === undefined)('on WebGPU', () => {
  let differences: Differences;
  beforeAll(async () => {
    differences = await runInBrowser(fileURLToPath(new URL('./webgpu-page.ts', import.meta.url)));
  });

  test.each(Object.keys(cases))('%s: agrees with cpu', (name) => {
    expect(differences[name]).toBeLessThan(2e-5);
  });
});
