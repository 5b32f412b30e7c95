/**
 * Dispatchers without host reads on WebGPU, in headless Chromium with a graphics processor imitated in software: values, gradients, load,
 * drops and telemetry equal those of the cpu backend, and nothing is read synchronously.
 *
 * Without Chromium the tests are skipped by name; with DIT_MOE_REQUIRE_CHROMIUM=1 they fail instead. CHROMIUM says where it is.
 */
import fs from 'node:fs';
import http from 'node:http';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs';
import { build } from 'esbuild';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { caseNames, evaluate } from './testing/webgpu-cases.js';

const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
const required = process.env['DIT_MOE_REQUIRE_CHROMIUM'] === '1';
const available = fs.existsSync(executablePath);

if (!available && !required) {
  const skipped = `WebGPU is NOT tested: there is no Chromium at ${executablePath}`;
  process.stderr.write(`${skipped}\n`);
  test.skip(skipped, () => {});
}

describe.runIf(available || required)('on WebGPU', () => {
  let host: http.Server;
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    const { outputFiles } = await build({
      entryPoints: [fileURLToPath(new URL('./testing/webgpu-page.ts', import.meta.url))],
      bundle: true,
      write: false,
      format: 'iife',
      conditions: ['@dit-moe/source'],
      // TensorFlow.js asks for these in branches that only run on Node.
      external: ['fs', 'path', 'crypto', 'worker_threads', 'perf_hooks', 'util', 'os', 'node-fetch', 'string_decoder'],
      logLevel: 'error',
    });
    const script = outputFiles[0]!.text;
    host = http.createServer(({ url }, response) => {
      const isScript = url === '/page.js';
      const body = isScript ? script : '<!doctype html><script src="page.js"></script>';
      response.writeHead(200, { 'Content-Type': isScript ? 'text/javascript' : 'text/html' }).end(body);
    });
    await new Promise<void>((resolve) => host.listen(0, '127.0.0.1', resolve));
    const flags = ['--no-sandbox', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--no-first-run'];
    browser = await chromium.launch({ executablePath, args: flags });
    page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${(host.address() as { port: number }).port}/`);
  });
  afterAll(async () => {
    await browser?.close();
    host?.close();
  });

  test.each(caseNames)('%s equals the cpu backend', async (name) => {
    await tf.setBackend('cpu');
    const wanted = await evaluate(name);
    const actual = await page.evaluate((it) => (globalThis as unknown as { evaluateOnWebGpu: typeof evaluate }).evaluateOnWebGpu(it), name);
    expect(Object.keys(actual)).toEqual(Object.keys(wanted));
    for (const [key, values] of Object.entries(wanted)) {
      const scale = Math.max(1, ...values.map(Math.abs));
      const worst = values.reduce((most, v, i) => Math.max(most, Math.abs(v - actual[key]![i]!)), 0);
      // Exponentials and square roots of a graphics processor may differ in the last bits.
      expect(worst / scale, key).toBeLessThan(5e-6);
    }
  });
});
