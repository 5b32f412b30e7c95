/** The report of a run in headless Chromium, as `watch` serves it. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Browser, BrowserContextOptions } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newContext, noBrowser, startBrowser, watchPage } from '../../../../testing/browser.js';
import { differenceOfLooks, leaveScreenshot, MOST_DIFFERENT, picturesOf } from '../../../../testing/looks.js';
import { serveRun } from '../watch/serve.js';
import { linesUpTo, writeMadeUpRun } from './testing/made-up-run.js';

if (noBrowser !== undefined) test.skip(`the report is NOT tested: ${noBrowser}`, () => {});

describe.runIf(noBrowser === undefined)('the report', () => {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'report-'));
  const problems: string[] = [];
  let browser: Browser;
  beforeAll(async () => {
    browser = await startBrowser();
  });
  afterAll(async () => {
    await browser?.close();
    fs.rmSync(root, { recursive: true });
  });

  async function open(run: string, options: BrowserContextOptions = {}) {
    const { url, close } = await serveRun(run, 0);
    const context = await newContext(browser, options);
    const page = await context.newPage();
    watchPage(page, url, problems);
    await page.goto(url);
    return {
      page,
      close: async () => {
        await context.close();
        await close();
      },
    };
  }

  test.each([
    ['desktop', 'light', 1040, 904],
    ['desktop-dark', 'dark', 1040, 904],
    ['phone', 'light', 392, 848],
  ] as const)('looks as it did: %s', async (name, colorScheme, width, height) => {
    const run = path.join(root, 'digits');
    writeMadeUpRun(run);
    const { page, close } = await open(run, { colorScheme, viewport: { width, height } });
    await leaveScreenshot(page, `report-${name}.png`);
    expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
    const chart = (label: string) => page.getByRole('img', { name: label });
    const parts = [
      // On a phone it is nothing but text, which fonts change too much.
      ...(name === 'phone' ? [] : [page.getByRole('main')]),
      page.getByAltText('Samples after step 500'),
      chart('loss over the steps, at last'),
      chart('held-out loss over the steps'),
      chart('share of the tokens of each of 8 experts'),
      chart('variation of the load'),
      chart('share of the assignments at a time'),
    ].map((found) => found.first());
    const pictures = await picturesOf(page, parts, 304);
    expect(differenceOfLooks(pictures, new URL(`./testing/looks/${name}.png`, import.meta.url))).toBeLessThan(MOST_DIFFERENT);
    await close();
  });

  test('what the run writes appears on the open page, which stays where it is', async () => {
    const run = path.join(root, 'young');
    writeMadeUpRun(run, 500);
    fs.writeFileSync(path.join(run, 'run.lock'), '{}');
    const { page, close } = await open(run);
    await page.getByText('Running.').waitFor();
    await page.getByText('as resolved').click();
    const place = await page.evaluate(() => scrollY);
    expect(place).toBeGreaterThan(0);
    // The first answer tells the page which version it shows.
    await page.waitForResponse(/\/version$/);
    fs.appendFileSync(path.join(run, 'metrics.jsonl'), `${JSON.stringify(linesUpTo(510).at(-1))}\n`);
    await page.getByText('510 of 3,000').waitFor();
    expect(await page.locator('details').getAttribute('open')).not.toBeNull();
    expect(await page.evaluate(() => scrollY)).toBe(place);
    await close();
  });

  test('made no error and asked no other host', () => {
    expect(problems).toEqual([]);
  });
});
