/**
 * Headless Chromium for the tests of pages.
 *
 * Without Chromium such tests are skipped by name; with DIT_MOE_REQUIRE_CHROMIUM=1 they fail instead. CHROMIUM says where it is.
 */
import fs from 'node:fs';
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from 'playwright-core';

const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';

/** Why nothing can be run in a browser here; `undefined` if it can, or has to. */
export const noBrowser: string | undefined =
  fs.existsSync(executablePath) || process.env['DIT_MOE_REQUIRE_CHROMIUM'] === '1'
    ? undefined
    : `there is no Chromium at ${executablePath}`;

/** Starts it, with a graphics processor that is imitated in software (SwiftShader). It asks no host by itself. */
export const startBrowser = (): Promise<Browser> =>
  chromium.launch({
    executablePath,
    args: [
      ...['--no-sandbox', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--disable-quic', '--no-first-run'],
      ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
    ],
  });

/** How long a page may take for what it does at once on a machine of its own. */
const PATIENCE_MS = 120_000;

/** A context whose pages are waited for as long as a busy machine needs. */
export async function newContext(browser: Browser, options: BrowserContextOptions = {}): Promise<BrowserContext> {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(PATIENCE_MS);
  return context;
}

/** Adds to `problems` what a page reports, errors and warnings, and its requests to other hosts than that of `url`: no page of ours makes any. */
export function watchPage(page: Page, url: string, problems: string[]): void {
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) problems.push(message.text());
  });
  page.on('request', (request) => {
    const asked = new URL(request.url());
    if (!['blob:', 'data:'].includes(asked.protocol) && asked.host !== new URL(url).host) problems.push(asked.href);
  });
}
