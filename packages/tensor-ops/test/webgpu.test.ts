/** Every differentiable op on WebGPU against the cpu backend: output and gradients. */
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { noBrowser } from '../../../testing/browser.js';
import { opCases as cases } from '../src/conformance/index.js';
import { runInBrowser } from './in-browser.js';
import type { Differences } from './webgpu-page.js';

if (noBrowser !== undefined) test.skip(`WebGPU is NOT tested: ${noBrowser}`, () => {});

describe.runIf(noBrowser === undefined)('on WebGPU', () => {
  let differences: Differences;
  beforeAll(async () => {
    differences = await runInBrowser(fileURLToPath(new URL('./webgpu-page.ts', import.meta.url)));
  });

  test.each(Object.keys(cases))('%s agrees with cpu', (name) => {
    expect(differences[name].output).toBeLessThan(1e-5);
    expect(differences[name].gradients).toBeLessThan(2e-5);
  });
});
