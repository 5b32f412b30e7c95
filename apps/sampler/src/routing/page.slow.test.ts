/** The page of `routing` in headless Chromium, from made-up choices: closed forms, so that it is the same on every machine. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { type DitConfig, ditSizes, expertKinds } from '@dit-moe/dit';
import { RoutingCounter } from '@dit-moe/moe/telemetry';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newContext, noBrowser, startBrowser, watchPage } from '../../../../testing/browser.js';
import { differenceOfLooks, leaveScreenshot, MOST_DIFFERENT, picturesOf } from '../../../../testing/looks.js';
import { drawFigures, legend, type Prototypes, type RoutingCounts } from './figures.js';
import { routingPage, summaryOf } from './page.js';

/** Four by four patches, two layers of six experts of three kinds, of which a token has up to two. */
const config: DitConfig = {
  ...{ inputSize: [8, 8], patchSize: 2, inChannels: 1, hiddenSize: 8, depth: 2, numHeads: 2, mlpRatio: 4, learnSigma: false },
  numClasses: 12,
  moe: {
    ...{ numExperts: 6, topK: 2, expertRatio: 1, sharedRatio: 1, balanceAlpha: 0.01 },
    experts: [
      { kind: 'swiglu', count: 4 },
      { kind: 'copy', count: 1 },
      { kind: 'zero', count: 1 },
    ],
  },
};
const classNames = [
  ...['cat', 'dog', 'horse', 'elephant', 'crane', 'airliner', 'container ship', 'trolleybus', 'tulip', 'daisy', 'violet'],
  'yellow lady-slipper of the northern woods',
];
const [NONE, STEPS] = [config.moe!.numExperts, 20];

/** Both choices of a token: by its place in the first layer, by the time in the second; now and then there is no second one. */
function choicesOf(layer: number, label: number, token: number, time: number): [number, number] {
  const [row, column] = [Math.floor(token / 4), token % 4];
  const centre = Math.abs(row - 1.5) + Math.abs(column - 1.5);
  const first = Math.floor(layer === 0 ? centre * 1.4 + label / 6 : 5.9 * time + ((token * 7 + label * 5) % 3) / 3) % NONE;
  const second = (first + 1 + ((row + label + layer) % 3)) % NONE;
  return [first, (token + label) % 5 === 0 ? NONE : second];
}

function madeUpCounts(): RoutingCounts {
  const { grid, tokens } = ditSizes(config);
  const counter = new RoutingCounter({ numExperts: NONE, tokens, classes: classNames.length });
  const labels = Int32Array.from(classNames.keys());
  for (let step = 0; step < STEPS; step++) {
    const time = 1 - step / STEPS;
    const layers = [0, 1].map((layer) =>
      Int32Array.from(
        [...labels].flatMap((label) => Array.from({ length: tokens }, (_, token) => choicesOf(layer, label, token, time)).flat()),
      ),
    );
    counter.add({ layers, labels, time });
  }
  const { times, evaluations, layers } = counter;
  return { grid, classNames, times, evaluations, layers, kinds: expertKinds(config) };
}

/** Of each layer, with one pair that is alike. */
const prototypes = [0, 1].map(
  (layer): Prototypes => ({
    shape: [4, NONE],
    data: Float32Array.from({ length: 4 * NONE }, (_, i) => Math.sin(2 * (i % NONE === 3 ? i - 1 : i) + layer)),
  }),
);

if (noBrowser !== undefined) test.skip(`the page of routing is NOT tested: ${noBrowser}`, () => {});

describe.runIf(noBrowser === undefined)('the page of routing', () => {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'routing-page-')), 'routing.html');
  const problems: string[] = [];
  let browser: Browser;
  beforeAll(async () => {
    const counts = madeUpCounts();
    const page = routingPage({
      ...{ model: 'runs/flowers', step: 12_000, images: classNames.length, router: 'prototypes', objective: 'flow' },
      settings: { solver: 'euler', steps: STEPS, guidance: 2, seed: 0 },
      ...{ made: new Date(Date.UTC(2026, 0, 2, 3, 4)), seconds: 75, legend: legend(counts) },
      ...{ figures: drawFigures(counts, prototypes), summary: summaryOf(counts, config) },
    });
    fs.writeFileSync(file, page);
    browser = await startBrowser();
  });
  afterAll(async () => {
    await browser?.close();
    fs.rmSync(path.dirname(file), { recursive: true });
  });

  test.each([
    ['desktop', 'light', 1040, 904],
    ['desktop-dark', 'dark', 1040, 904],
    ['phone', 'light', 392, 848],
  ] as const)('looks as it did: %s', async (name, colorScheme, width, height) => {
    const context = await newContext(browser, { colorScheme, viewport: { width, height } });
    const page = await context.newPage();
    const { href } = pathToFileURL(file);
    watchPage(page, href, problems);
    await page.goto(href);
    await leaveScreenshot(page, `routing-${name}.png`);
    expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
    const pictures = await picturesOf(page, await page.locator('svg').all(), 304);
    expect(differenceOfLooks(pictures, new URL(`./testing/looks/${name}.png`, import.meta.url))).toBeLessThan(MOST_DIFFERENT);
    await context.close();
  });

  test('made no error and asked no other host', () => {
    expect(problems).toEqual([]);
  });
});
