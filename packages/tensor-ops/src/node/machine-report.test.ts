import '@tensorflow/tfjs-backend-wasm';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, expect, test, vi } from 'vitest';
import { formatMachineReport, machineReport } from './machine-report.js';

const nothing = fs.mkdtempSync(path.join(os.tmpdir(), 'machine-report-'));
afterAll(() => fs.rmSync(nothing, { recursive: true }));
afterEach(() => vi.unstubAllEnvs());

test('names what a person needs to know', async () => {
  vi.stubEnv('DIT_MOE_CACHE_DIR', nothing);
  const report = await machineReport('cpu');
  expect(report).toMatchObject({
    ready: true,
    findings: {
      node: expect.stringContaining(process.version),
      memory: expect.stringMatching(/^\d+ of \d+ MiB free$/),
      cache: expect.stringMatching(new RegExp(`^${nothing}, \\d+ MiB free$`)),
      packages: expect.stringMatching(/^tfjs-core 4\..*, koffi 3\./),
      backend: expect.stringMatching(/^cpu .*asked for/),
      bf16: expect.any(String),
    },
  });
  expect(formatMachineReport(report)).toMatch(/^node {5}v.*\nready {4}yes$/s);
});

test.each(['auto', 'tensorflow'] as const)('tells the command that repairs %s', async (backend) => {
  vi.stubEnv('LIBTENSORFLOW_DIR', nothing);
  const report = await machineReport(backend);
  expect(report.ready).toBe(false);
  expect(report.findings['fix']).toBe('unset LIBTENSORFLOW_DIR');
  if (backend === 'auto') expect(report.findings['backend']).toMatch(/^wasm /);
  expect(formatMachineReport(report)).toMatch(/\nfix {6}unset LIBTENSORFLOW_DIR\nready {4}no: run the command above/);
});
