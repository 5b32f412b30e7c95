/** The page in headless Chromium: with the server, and as a static export with the model inside the browser. */
import fs from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { openModel, writeModel } from '@dit-moe/dit/node';
import { bundleProgram, type Running } from '@dit-moe/kit/testing';
import { openPipeline } from '@dit-moe/pipeline/node';
import { startBackend } from '@dit-moe/tensor-ops/node';
import { decode, encode } from 'fast-png';
import type { Browser, BrowserContext, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tinyCard, writeTinyLatentModel, writeTinyModel } from '../../../../packages/pipeline/src/testing/tiny-model.js';
import { newContext, noBrowser, startBrowser, watchPage } from '../../../../testing/browser.js';
import { differenceOfLooks, leaveScreenshot, MOST_DIFFERENT } from '../../../../testing/looks.js';
import { buildWeb } from './build.js';

/** Images of each class of which 250 steps take long: as many as one may ask for. */
const MANY_IMAGES = '21';
/** At this rate their steps arrive for some two minutes, two in a second, so that there is something to stop on every machine. */
const SLOW_BYTES_PER_SECOND = 10_000;

if (noBrowser !== undefined) test.skip(`the page is NOT tested: ${noBrowser}`, () => {});

describe.runIf(noBrowser === undefined)('the page', () => {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'page-'));
  const problems: string[] = [];
  let browser: Browser;
  let running: Running;
  let address: string;
  let host: http.Server;
  let staticAddress: string;

  beforeAll(async () => {
    // Eight pixels, so that there is something to see.
    const card = { ...tinyCard, config: { ...tinyCard.config, inputSize: [8, 8] as const, depth: 2 } };
    await writeTinyModel(path.join(root, 'tiny.safetensors'), card);
    const race = { ...card.config, moe: { ...card.config.moe!, router: 'race' as const, scoreFunction: 'identity' as const } };
    await writeTinyModel(path.join(root, 'other.safetensors'), { ...card, config: race, step: 9 });
    const opened = await openModel(path.join(root, 'tiny.safetensors'));
    await writeModel(path.join(root, 'torch.pt'), opened, { layout: 'qkv' });
    await writeModel(path.join(root, 'int8.safetensors'), opened, { card, dtype: 'I8' });
    await opened.close();
    await startBackend('cpu');
    const autoencoder = path.join(root, 'autoencoder');
    await writeTinyLatentModel(path.join(root, 'latent.safetensors'), autoencoder);
    await buildWeb(path.join(root, 'web'));
    const start = await bundleProgram(new URL('../cli.ts', import.meta.url), root);
    const models = ['tiny', 'other', 'latent'].map((name) => path.join(root, `${name}.safetensors`));
    running = start(['serve', ...models, '--vae', autoencoder, '--port', '0', '--json', '--backend', 'tensorflow']);
    address = await new Promise<string>((resolve, reject) => {
      running.child.stdout.on('data', (text) => resolve(JSON.parse(String(text)).address));
      void running.ended.then(({ err }) => reject(new Error(err)));
    });
    const folder = path.join(root, 'static');
    const files = [models[0], models[2], path.join(root, 'int8.safetensors')];
    expect(await start(['serve', ...files, '--vae', autoencoder, '--static', folder]).ended).toMatchObject({ code: 0 });
    // A host of static files that knows nothing but types.
    const types: Record<string, string> = {
      '.html': 'text/html',
      '.js': 'text/javascript',
      '.css': 'text/css',
      '.wasm': 'application/wasm',
    };
    host = http.createServer((request, response) => {
      const { pathname } = new URL(request.url!, 'http://host');
      const file = path.join(folder, pathname === '/sub/' ? 'index.html' : path.basename(pathname));
      if (!fs.existsSync(file)) return void response.writeHead(404).end();
      response.writeHead(200, { 'Content-Type': types[path.extname(file)] ?? 'application/octet-stream' }).end(fs.readFileSync(file));
    });
    await new Promise<void>((resolve) => host.listen(0, '127.0.0.1', resolve));
    staticAddress = `http://127.0.0.1:${(host.address() as { port: number }).port}/sub/`;
    browser = await startBrowser();
  });
  afterAll(async () => {
    await browser?.close();
    host?.close();
    running?.child.kill('SIGTERM');
    await running?.ended;
    fs.rmSync(root, { recursive: true, force: true });
  });

  /** A page on which errors and requests to other hosts are failures. */
  async function open(url: string, options: BrowserContextOptions = {}): Promise<{ page: Page; context: BrowserContext }> {
    const context = await newContext(browser, { acceptDownloads: true, ...options });
    await context.addInitScript(() => {
      const make = createImageBitmap;
      const bitmaps: ImageBitmap[] = [];
      Object.assign(globalThis, {
        bitmaps,
        async createImageBitmap(source: ImageBitmapSource) {
          const bitmap = await make(source);
          bitmaps.push(bitmap);
          return bitmap;
        },
      });
    });
    const page = await context.newPage();
    watchPage(page, url, problems);
    await page.goto(url);
    await page.getByRole('button', { name: 'Sample', exact: true }).waitFor();
    return { page, context };
  }
  /** Lets the server's answers arrive slowly. @returns lets them arrive at once again */
  async function slowDown(page: Page): Promise<() => Promise<void>> {
    const session = await page.context().newCDPSession(page);
    const conditions = { offline: false, latency: 0, downloadThroughput: SLOW_BYTES_PER_SECOND, uploadThroughput: -1 };
    await session.send('Network.enable');
    await session.send('Network.emulateNetworkConditions', conditions);
    return () => session.detach();
  }
  const sample = async (page: Page, images: number): Promise<void> => {
    await page.getByRole('button', { name: 'Sample', exact: true }).click();
    const done = page.getByText(`Done: ${images} images.`);
    await done.or(page.getByRole('alert').filter({ hasText: /./ })).waitFor({ timeout: 240_000 });
    expect((await page.getByRole('alert').allInnerTexts()).join('')).toBe('');
  };
  const drop = async (page: Page, name: string, content: Buffer): Promise<void> => {
    const files = await page.evaluateHandle(
      ([name, text]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
        return transfer;
      },
      [name, content.toString('base64')] as const,
    );
    for (const event of ['dragover', 'drop']) await page.dispatchEvent('body', event, { dataTransfer: files });
  };
  /** A picture whose right half is white. */
  const halfWhite = encode({
    width: 16,
    height: 16,
    channels: 1,
    data: Uint8Array.from({ length: 256 }, (_, i) => (i % 16 < 8 ? 0 : 255)),
  });
  /** The finished images, as the links of the page hold them. */
  const finished = (page: Page): Promise<number[][]> =>
    page.evaluate(async () => {
      const links = [...document.querySelectorAll<HTMLAnchorElement>('a[download]')];
      return Promise.all(links.map(async ({ href }) => [...new Uint8Array(await (await fetch(href)).arrayBuffer())]));
    });

  test.each([
    ['the server', () => address],
    ['a host of files', () => staticAddress],
  ])('begins with pictures of the model that is shown, from %s', async (_, url) => {
    const { page, context } = await open(url());
    await page.getByText('A first look: 18 images in 12 steps.').waitFor();
    const images = (await finished(page)).map((png) => decode(Uint8Array.from(png)));
    expect(images.map(({ text }) => JSON.parse(text['Comment']))).toMatchObject(
      Array.from({ length: 18 }, (_, i) => ({ model: 'tiny', label: i % 3, index: i, steps: 12 })),
    );
    const last = page.getByRole('img', { name: /image 18, step 12/ });
    // All of them in the first view.
    const { y, height } = (await last.boundingBox())!;
    expect(y + height).toBeLessThan(page.viewportSize()!.height);
    // Of the next model as well, and none of that is among what was asked for.
    await page.getByLabel('Checkpoint').selectOption('latent (step 7)');
    await page.getByRole('heading', { name: 'Guidance 2' }).waitFor();
    await expect
      .poll(async () => JSON.parse(decode(Uint8Array.from((await finished(page))[0] ?? halfWhite)).text['Comment'] ?? '{}').model)
      .toBe('latent');
    await page.getByLabel('Steps').fill('2');
    for (const seed of ['1', '2']) {
      await page.getByLabel('Seed', { exact: true }).fill(seed);
      await sample(page, 3);
    }
    expect(await page.getByRole('button', { name: /^Show again/ }).count()).toBe(2);
    await context.close();
  });

  test('on a host of files, pictures are there before anything computes', async () => {
    const context = await newContext(browser);
    await context.route('**/worker.js*', (route) => new Promise(() => void route));
    const page = await context.newPage();
    await page.goto(staticAddress);
    await page.getByText('A first look: 18 images in 12 steps.').waitFor();
    await context.close();
  });

  test('gives way at once to what is asked for', async () => {
    const context = await newContext(browser);
    const page = await context.newPage();
    let first = true;
    // The first look never ends.
    await context.route('**/api/samples', (route) => {
      if (!first) return route.continue();
      first = false;
      expect(route.request().postDataJSON()).toMatchObject({ idle: true });
    });
    await page.goto(`${address}?fresh`);
    await page.getByText('so far').waitFor();
    await page.getByLabel('Steps').fill('3');
    await sample(page, 3);
    await context.close();
  });

  test('a first look that was stopped at its end says nothing of what was pressed after it', async () => {
    const context = await newContext(browser);
    await context.addInitScript(() => {
      const make = createImageBitmap;
      let [first, release] = [true, () => {}];
      const held = new Promise<void>((resolve) => (release = resolve));
      Object.assign(globalThis, {
        release,
        async createImageBitmap(source: ImageBitmapSource) {
          if (first) {
            first = false;
            await held;
          }
          return make(source);
        },
      });
    });
    const page = await context.newPage();
    await page.goto(staticAddress);
    await page.getByRole('img', { name: /image 18, step 12/ }).waitFor();
    await page.getByLabel('Steps').fill('3');
    await sample(page, 3);
    await page.evaluate(async () => {
      (globalThis as unknown as { release: () => void }).release();
      await new Promise((resolve) => setTimeout(resolve, 300));
    });
    expect(await page.locator('p[role=status]').textContent()).toBe('Done: 3 images.');
    await context.close();
  });

  test('shows each step, the experts, and guidance scales side by side', async () => {
    const { page, context } = await open(address);
    await page.getByLabel('Guidance scale').fill('1, 3');
    await page.getByLabel('Steps').fill('6');
    await sample(page, 6);
    const rows = page.getByRole('region', { name: /^Guidance / });
    expect(await rows.count()).toBe(2);
    const canvas = page.getByRole('img', { name: 'Guidance 3: class bee, image 2, step 6' });
    const shot = async () => (await canvas.screenshot()).toString('base64');
    const last = await shot();
    const slider = page.getByRole('slider', { name: 'Step' });
    await slider.fill('2');
    await page.getByText('Step 2 of 6').waitFor();
    expect(await page.getByRole('img', { name: /image 2, step 2/ }).count()).toBe(2);
    const early = (await page.getByRole('img', { name: 'Guidance 3: class bee, image 2, step 2' }).screenshot()).toString('base64');
    expect(early).not.toBe(last);
    await slider.fill('6');
    await page.getByLabel('Show which experts handle which patch').check();
    expect(await shot()).not.toBe(last);
    const ofRow = page.getByRole('region', { name: 'Guidance 3' }).locator('.shares li');
    const shares = await ofRow.allInnerTexts();
    expect(shares).toHaveLength(3);
    expect(shares.reduce((sum, text) => sum + Number(/: ([\d.]+) %/.exec(text)![1]), 0)).toBeCloseTo(100, 0);
    await page.getByRole('combobox', { name: 'Layer' }).selectOption('1');
    expect(await ofRow.allInnerTexts()).not.toEqual(shares);
    await context.close();
  });

  test('shows how many experts a patch has, where that varies', async () => {
    const { page, context } = await open(address);
    await page.getByLabel('Checkpoint').selectOption('other (step 9)');
    await page.getByLabel('Steps').fill('3');
    await sample(page, 3);
    await page.getByText('2 layers of 3 experts, 2 for each patch on average (router race)').waitFor();
    await page.getByLabel('Show which experts handle which patch').check();
    const canvas = page.getByRole('img', { name: 'Guidance 2: class bee, image 2, step 3' });
    const which = (await canvas.screenshot()).toString('base64');
    await page.getByRole('combobox', { name: 'Patches show' }).selectOption('their number of experts');
    expect((await canvas.screenshot()).toString('base64')).not.toBe(which);
    const list = page.getByRole('list', { name: /^Patches by their number of experts: [\d.]+ on average here, 2 in training/ });
    const shares = await list.getByRole('listitem').allInnerTexts();
    expect(shares.length).toBeGreaterThan(1);
    expect(shares.reduce((sum, text) => sum + Number(/: ([\d.]+) %/.exec(text)![1]), 0)).toBeCloseTo(100, 0);
    await leaveScreenshot(page, 'experts-per-patch.png');
    await context.close();
  });

  test('gives images with their settings, and all of them as a sheet', async () => {
    const { page, context } = await open(address);
    await page.getByLabel('Seed', { exact: true }).fill('12');
    await page.getByLabel('Steps').fill('3');
    await sample(page, 3);
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('link', { name: 'Download image 3, class cat, Guidance 2' }).click(),
    ]);
    expect(download.suggestedFilename()).toBe('tiny-cat-seed12-2.png');
    const png = decode(fs.readFileSync(await download.path()));
    expect(png.width).toBe(8);
    expect(JSON.parse(png.text['Comment'])).toMatchObject({ label: 2, index: 2, seed: 12, guidance: 2, steps: 3 });
    const [sheet] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download all' }).click()]);
    expect(decode(fs.readFileSync(await sheet.path())).width).toBe(2 * 9 - 1);
    // One that is closed has no width: none keeps its memory.
    const widths = await page.evaluate(() => (globalThis as unknown as { bitmaps: ImageBitmap[] }).bitmaps.map(({ width }) => width));
    expect(widths.length).toBeGreaterThanOrEqual(4);
    expect(widths.filter((width) => width > 0)).toEqual([]);
    await context.close();
  });

  test('shows how far it is, enlarges an image, and comes back to earlier ones', async () => {
    const { page, context } = await open(address);
    await page.getByLabel('Steps').fill('250');
    await page.getByLabel('Images of each').fill(MANY_IMAGES);
    const asBefore = await slowDown(page);
    await page.getByRole('button', { name: 'Sample', exact: true }).click();
    const bar = page.getByRole('progressbar', { name: 'Progress' });
    await page.getByText(/about .* left/).waitFor();
    const share = await bar.evaluate((element) => (element as HTMLProgressElement).value);
    expect(share).toBeGreaterThan(0);
    expect(share).toBeLessThanOrEqual(1);
    await page.getByRole('button', { name: 'Stop' }).click();
    await page.getByText('Stopped.').waitFor();
    await asBefore();
    expect(await bar.count()).toBe(0);
    await page.getByLabel('Steps').fill('2');
    await page.getByLabel('Images of each').fill('1');
    for (const seed of ['5', '6']) {
      await page.getByLabel('Seed', { exact: true }).fill(seed);
      await sample(page, 3);
    }
    const shown = await finished(page);
    await page.getByRole('button', { name: /^Show again: tiny: ant, bee, cat; seed 5/ }).click();
    const earlier = await finished(page);
    expect(earlier).not.toEqual(shown);
    expect(await page.getByRole('button', { name: /^Show again/ }).count()).toBe(2);
    await page.getByRole('button', { name: 'Enlarge image 2, class bee, Guidance 2' }).click();
    const dialog = page.getByRole('dialog', { name: 'Enlarged image' });
    expect((await dialog.locator('canvas').boundingBox())!.width).toBeGreaterThan(400);
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    await context.close();
  });

  test('compares models side by side, each with its router', async () => {
    const { page, context } = await open(address);
    await page.getByText('other (router race)').click();
    await page.getByLabel('Steps').fill('3');
    await page.getByRole('button', { name: 'Sample', exact: true }).click();
    await page.getByText('Done: 6 images.').waitFor();
    await page.getByLabel('Show which experts handle which patch').check();
    for (const name of ['tiny (router token), guidance 2', 'other (router race), guidance 2'])
      expect(await page.getByRole('region', { name }).locator('.shares li').count()).toBeGreaterThanOrEqual(3);
    const models = (await finished(page)).map((png) => JSON.parse(decode(Uint8Array.from(png)).text['Comment']).model);
    expect(models).toEqual(['tiny', 'tiny', 'tiny', 'other', 'other', 'other']);
    expect(page.url()).toContain('compare=other');
    await context.close();
  });

  test('starts from a picture and completes what is painted new', async () => {
    const { page, context } = await open(address);
    await page.getByLabel('Steps').fill('20');
    await page.getByText('Start from a picture').click();
    await page
      .getByLabel('Picture', { exact: true })
      .setInputFiles({ name: 'half.png', mimeType: 'image/png', buffer: Buffer.from(halfWhite) });
    const canvas = page.getByRole('img', { name: 'Picture to start from' });
    await canvas.evaluate((element) => element.scrollIntoView({ block: 'center' }));
    const box = (await canvas.boundingBox())!;
    // A stroke down the left edge, as wide as the brush.
    await page.mouse.move(box.x + 2, box.y + 2);
    await page.mouse.down();
    await page.mouse.move(box.x + 2, box.y + box.height - 2, { steps: 20 });
    await page.mouse.up();
    await page.getByRole('img', { name: 'Picture to start from, with a mask' }).waitFor();
    await sample(page, 3);
    for (const png of await finished(page)) {
      const { data, width, text } = decode(Uint8Array.from(png));
      expect(JSON.parse(text['Comment'])).toMatchObject({ init: 'given', strength: 1, mask: 'given' });
      // The right half was not painted: it is white, as it was.
      expect(Array.from({ length: 8 }, (_, y) => data[y * width + 7])).toEqual(Array(8).fill(255));
      expect(new Set(Array.from({ length: 8 }, (_, y) => data[y * width])).size).toBeGreaterThan(1);
    }
    await page.getByLabel('Strength').fill('2');
    await page.getByRole('button', { name: 'Sample', exact: true }).click();
    await page.getByRole('alert').getByText('Strength: expected a number from 0.01 to 1.').waitFor();
    await page.getByLabel('Strength').fill('0.2');
    await page.getByRole('button', { name: 'Clear mask' }).click();
    await sample(page, 3);
    const [whole] = await finished(page);
    expect(JSON.parse(decode(Uint8Array.from(whole)).text['Comment'])).toMatchObject({ init: 'given', strength: 0.2 });
    // An image of the page itself can be the next start.
    await page.getByRole('button', { name: 'Remove picture' }).click();
    await page.getByRole('button', { name: /^Enlarge image 2/ }).click();
    await page.getByRole('button', { name: 'Start from it' }).click();
    await canvas.waitFor();
    await context.close();
  });

  test('opens a checkpoint that is dropped onto it, in the browser and nowhere else', async () => {
    const { page, context } = await open(address);
    const sent: Buffer[] = [];
    page.on('request', (request) => {
      if (request.method() === 'POST') sent.push(request.postDataBuffer()!);
    });
    const model = fs.readFileSync(path.join(root, 'tiny.safetensors'));
    await drop(page, 'notes.txt', Buffer.from('words'));
    await page.getByRole('alert').getByText('notes.txt: expected a picture to start from, or a checkpoint').waitFor();
    await drop(page, 'broken.safetensors', model.subarray(0, model.length - 9));
    await page
      .getByRole('alert')
      .getByText(/^broken\.safetensors/)
      .waitFor();
    await drop(page, 'tiny.safetensors', model);
    await page.getByText('Computed in this browser (WebAssembly), and sent nowhere.').waitFor();
    // The form follows a moment after the words.
    await expect.poll(() => page.getByLabel('Checkpoint').inputValue()).toBe('tiny-2');
    await page.getByText('tiny (router token)').click();
    await page.getByLabel('Steps').fill('3');
    await sample(page, 6);
    const images = (await finished(page)).map((png) => decode(Uint8Array.from(png)));
    // The same model on the server, whose backend rounds differently.
    for (const i of [0, 1, 2])
      expect(Math.max(...Array.from(images[i].data, (v, at) => Math.abs(v - images[i + 3].data[at])))).toBeLessThanOrEqual(1);
    // Requests in words, which no weights are part of.
    expect(Math.max(...sent.map(({ length }) => length))).toBeLessThan(500);
    await context.close();
  });

  test('two checkpoints that are opened at once are both offered, under names of their own', async () => {
    const { page, context } = await open(staticAddress);
    await page.evaluate(
      (text) => {
        for (const name of ['same.safetensors', 'same.safetensors']) {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
          document.body.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }));
        }
      },
      fs.readFileSync(path.join(root, 'tiny.safetensors')).toString('base64'),
    );
    await expect
      .poll(() => page.getByLabel('Checkpoint').locator('option').allInnerTexts())
      .toEqual(['tiny (step 7)', 'latent (step 7)', 'int8 (step 7)', 'same (step 7)', 'same-2 (step 7)']);
    await context.close();
  });

  test('a model in int8 is fetched as it is, and computed as the library computes it', async () => {
    const { page, context } = await open(staticAddress);
    await page.getByLabel('Checkpoint').selectOption('int8 (step 7)');
    await page.getByLabel('Steps').fill('3');
    await sample(page, 3);
    const images = (await finished(page)).map((png) => decode(Uint8Array.from(png)));
    const { model, solver, steps, guidance, seed } = JSON.parse(images[0].text['Comment']);
    expect(model).toBe('int8');
    const pipeline = await openPipeline(path.join(root, 'int8.safetensors'), { onWarning: () => {} });
    const expected = await pipeline.sample({ solver, steps, guidance, seed, labels: [0, 1, 2] });
    pipeline.dispose();
    const found = images.flatMap(({ data }) => [...data]);
    expect(found).toHaveLength(expected.data.length);
    // Two backends round differently.
    expect(Math.max(...found.map((value, i) => Math.abs(value - expected.data[i])))).toBeLessThanOrEqual(1);
    await context.close();
  });

  test('opens a file of PyTorch, and asks what it does not say', async () => {
    const { page, context } = await open(staticAddress);
    await drop(page, 'torch.pt', fs.readFileSync(path.join(root, 'torch.pt')));
    await page.getByText('torch.pt does not say how its model was trained.').waitFor();
    await page.getByRole('button', { name: 'Flow matching' }).click();
    await expect.poll(() => page.getByLabel('Checkpoint').inputValue()).toBe('torch');
    await expect
      .poll(async () => (await finished(page)).map((png) => JSON.parse(decode(Uint8Array.from(png)).text['Comment']).model))
      .toEqual(Array(18).fill('torch'));
    await context.close();
  });

  test('an address shows the same images again', async () => {
    const first = await open(address);
    await first.page.getByLabel('Checkpoint').selectOption('other (step 9)');
    await first.page.getByLabel('Seed', { exact: true }).fill('77');
    await first.page.getByLabel('Steps').fill('3');
    await first.page.getByRole('form').getByText('bee', { exact: true }).click();
    await first.page.getByLabel('Guidance rule').selectOption('apg');
    await first.page.getByLabel('momentum').fill('half');
    await first.page.getByLabel('Guide with').selectOption('tiny (step 7)');
    await first.page.getByRole('button', { name: 'Sample', exact: true }).click();
    await first.page.getByRole('alert').getByText('Guidance rule: expected a number for momentum.').waitFor();
    await first.page.getByLabel('momentum').fill('-0.5');
    await sample(first.page, 2);
    const url = first.page.url();
    expect(url).toContain('seed=77');
    const [made] = await finished(first.page);
    expect(JSON.parse(decode(Uint8Array.from(made)).text['Comment'])).toMatchObject({
      guidanceRule: 'apg:momentum=-0.5',
      guideWith: 'tiny',
    });
    await first.page.getByRole('region', { name: 'Guidance 2 (apg:momentum=-0.5, with tiny)' }).waitFor();
    // At once, without the button.
    const second = await open(url);
    await second.page.getByText('Done: 2 images.').waitFor();
    expect(await finished(second.page)).toEqual(await finished(first.page));
    await first.context.close();
    await second.context.close();
  });

  test('on a small screen the images come into view, and what is wrong stands at its field', async () => {
    const { page, context } = await open(address, { viewport: { width: 390, height: 844 } });
    await page.getByLabel('Seed', { exact: true }).fill('-1');
    await page.getByRole('button', { name: 'Sample', exact: true }).click();
    await page.getByRole('alert').getByText('Seed: expected a whole number from 0').waitFor();
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('seed');
    expect(await page.getByLabel('Seed', { exact: true }).getAttribute('aria-invalid')).toBe('true');
    await page.getByLabel('Seed', { exact: true }).fill('1');
    await page.getByLabel('Steps').fill('3');
    await sample(page, 3);
    const image = page.getByRole('img', { name: /image 1, step 3/ });
    await expect.poll(async () => (await image.boundingBox())!.y).toBeLessThan(844);
    await context.close();
  });

  test('works with the keyboard alone', async () => {
    const { page, context } = await open(address);
    const focused = () => page.evaluate(() => document.activeElement?.id || document.activeElement?.textContent || '');
    await page.keyboard.press('Tab');
    expect(await focused()).toBe('model');
    for (const _ of ['the file', 'other', 'latent', 'the first class']) await page.keyboard.press('Tab');
    await page.keyboard.press('Space'); // leaves it out
    for (let i = 0; i < 20 && (await focused()) !== 'steps'; i++) await page.keyboard.press('Tab');
    await page.keyboard.type('4');
    await page.keyboard.press('Control+A');
    await page.keyboard.type('4');
    await page.keyboard.press('Enter');
    await page.getByText('Done: 2 images.').waitFor();
    await page.getByRole('slider').focus();
    await page.keyboard.press('ArrowLeft');
    await page.getByText('Step 3 of 4').waitFor();
    await context.close();
  });

  test('stops on request, says what is wrong, and offers every checkpoint', async () => {
    const { page, context } = await open(address);
    await page.getByLabel('Steps').fill('0');
    await page.getByRole('button', { name: 'Sample', exact: true }).click();
    expect(await page.getByText('Steps: expected a whole number from 1 to 250.').count()).toBe(1);
    await page.getByLabel('Steps').fill('250');
    await page.getByLabel('Images of each').fill(MANY_IMAGES);
    const asBefore = await slowDown(page);
    await page.getByRole('button', { name: 'Sample', exact: true }).click();
    await page.getByRole('slider').waitFor();
    await page.getByRole('button', { name: 'Stop' }).click();
    await page.getByText('Stopped.').waitFor();
    await asBefore();
    expect(await page.getByLabel('Checkpoint').locator('option').allInnerTexts()).toEqual([
      'tiny (step 7)',
      'other (step 9)',
      'latent (step 7)',
    ]);
    await context.close();
  });

  test.each([
    ['light', 1200, 900],
    ['dark', 390, 844],
  ] as const)('is accessible and fits in %s at %i pixels', async (colorScheme, width, height) => {
    const { page, context } = await open(address, { colorScheme, viewport: { width, height } });
    await page.getByLabel('Steps').fill('3');
    await sample(page, 3);
    await page.getByLabel('Show which experts handle which patch').check();
    expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
    await page.evaluate(fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8'));
    const violations = await page.evaluate(async () => {
      const { axe } = globalThis as unknown as { axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> } };
      return (await axe.run()).violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`);
    });
    expect(violations).toEqual([]);
    const image = await page.screenshot({ fullPage: true });
    await leaveScreenshot(page, `page-${colorScheme}.png`);
    const { data, channels } = decode(image);
    // The page's corner tells which scheme it took.
    expect(data[0] > 128).toBe(colorScheme === 'light');
    expect(new Set(data.filter((_, i) => i % channels === 1)).size).toBeGreaterThan(50);
    await context.close();
  });

  test.each([
    ['desktop', 'light', 1440, 904],
    ['desktop-dark', 'dark', 1440, 904],
    ['phone', 'light', 392, 848],
  ] as const)('looks as it did: %s', async (name, colorScheme, width, height) => {
    const { page, context } = await open(address, { colorScheme, viewport: { width, height }, reducedMotion: 'reduce' });
    await page.getByLabel('Guidance scale').fill('1, 3');
    await page.getByLabel('Steps').fill('3');
    await sample(page, 6);
    await page.getByLabel('Show which experts handle which patch').check();
    const images = page.getByRole('region', { name: 'Guidance 3' });
    // Whatever lines the font makes of the text above.
    if (name === 'phone') await images.evaluate((element) => element.scrollIntoView());
    else await page.evaluate(() => scrollTo(0, 0));
    const { y } = (await images.boundingBox())!;
    await leaveScreenshot(page, `${name}.png`);
    const png = await page.screenshot(name === 'phone' ? { clip: { x: 0, y, width, height: 304 } } : {});
    expect(differenceOfLooks([png], new URL(`./testing/looks/${name}.png`, import.meta.url))).toBeLessThan(MOST_DIFFERENT);
    await context.close();
  });

  test('computes the same images inside the browser, with WebAssembly and with WebGPU', async () => {
    const results: number[][][] = [];
    const places = [
      [address, 'Computed on this server'],
      [staticAddress, 'Computed in this browser (WebAssembly)'],
      [`${staticAddress}?backend=webgpu`, 'Computed in this browser (WebGPU)'],
    ] as const;
    for (const [url, place] of places) {
      const { page, context } = await open(url);
      await page.getByText(place).waitFor();
      await page.getByLabel('Steps').fill('5');
      await page.getByLabel('Checkpoint').selectOption('latent (step 7)');
      await page.getByLabel('Guidance rule').selectOption('apg');
      await page.getByLabel('momentum').fill('-0.5');
      await page.getByLabel('Evaluations of the model').selectOption('every 2nd one');
      await sample(page, 3);
      const ofLatents = await finished(page);
      // What is seen in the end is the image, not the rough preview of its latents: the colours of its first row.
      const { data, width } = decode(Uint8Array.from(ofLatents[0]));
      const shown = page.getByRole('img', { name: /image 1, step 5/ });
      const seen = () =>
        shown.evaluate((element, width) => {
          const canvas = element as HTMLCanvasElement;
          const zoom = canvas.width / width;
          const row = canvas.getContext('2d')!.getImageData(0, zoom / 2, canvas.width, 1).data;
          return Array.from({ length: width }, (_, x) => [...row.slice(4 * (x + 0.5) * zoom, 4 * (x + 0.5) * zoom + 3)]).flat();
        }, width);
      // The canvas is painted a moment after the words.
      await expect.poll(seen).toEqual([...data.slice(0, 3 * width)]);
      await page.getByLabel('Checkpoint').selectOption('tiny (step 7)');
      await sample(page, 3);
      results.push([...ofLatents, ...(await finished(page))]);
      if (url !== address) {
        await page.getByLabel('Show which experts handle which patch').check();
        expect(await page.locator('.shares li').count()).toBe(3);
      }
      // Chromium imitates a graphics processor here, which takes minutes for so many images.
      if (url === staticAddress) {
        await page.getByLabel('Steps').fill('250');
        await page.getByLabel('Images of each').fill(MANY_IMAGES);
        await page.getByRole('button', { name: 'Sample', exact: true }).click();
        await page.getByRole('slider').waitFor();
        await page.getByRole('button', { name: 'Stop' }).click();
        await page.getByText('Stopped.').waitFor();
      }
      await context.close();
    }
    const [server, ...locals] = results.map((images) => images.map((bytes) => decode(Uint8Array.from(bytes))));
    for (const local of locals) {
      expect(local.map(({ width, channels }) => [width, channels])).toEqual([...Array(3).fill([8, 3]), ...Array(3).fill([8, 1])]);
      for (const [i, image] of local.entries()) {
        // Two backends round differently: a value may fall on the other side of a half.
        const difference = Array.from(image.data, (v, at) => Math.abs(v - server[i].data[at]));
        expect(Math.max(...difference)).toBeLessThanOrEqual(1);
        expect(JSON.parse(image.text['Comment'])).toEqual(JSON.parse(server[i].text['Comment']));
      }
    }
    // The imitated graphics processor shares the machine with whatever else runs.
  }, 900_000);

  test('says that a backend does not exist', async () => {
    const context = await newContext(browser);
    const page = await context.newPage();
    await page.goto(`${staticAddress}?backend=abacus`);
    await page.getByRole('alert').getByText('There is no backend "abacus": expected webgpu or wasm.').waitFor();
    await context.close();
  });

  test('made no error and asked no other host', () => {
    expect(problems).toEqual([]);
  });
});
