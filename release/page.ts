/** Runs a page's program in Chromium, from a server on loopback. */
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { build } from 'esbuild';
import { startBrowser } from '../testing/browser.js';

const types: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.json': 'application/json' };

/**
 * Bundles `program` and opens it in a page whose server has the files of `folder`.
 * @returns the colours of the canvas that it draws, without repetition
 */
export async function runPage(folder: string, program: string): Promise<number> {
  const entryPoints = [path.join(folder, program)];
  await build({ entryPoints, outfile: path.join(folder, 'page.js'), bundle: true, format: 'esm', platform: 'browser', logLevel: 'silent' });
  fs.writeFileSync(path.join(folder, 'index.html'), '<!doctype html><body><script type="module" src="page.js"></script>');
  const server = http.createServer((request, response) => {
    const file = path.join(folder, request.url === '/' ? 'index.html' : decodeURIComponent(request.url!));
    if (!file.startsWith(folder) || !fs.existsSync(file)) response.writeHead(404).end();
    else response.writeHead(200, { 'content-type': types[path.extname(file)] ?? 'application/octet-stream' }).end(fs.readFileSync(file));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const browser = await startBrowser();
  try {
    const page = await browser.newPage();
    const problems: string[] = [];
    page.on('pageerror', (error) => problems.push(error.message));
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    await page.waitForSelector('canvas', { timeout: 120_000 }).catch((error: Error) => {
      throw new Error([...problems, error.message].join('\n'));
    });
    return await page.evaluate(() => {
      const canvas = document.querySelector('canvas')!;
      const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height);
      return new Set(new Uint32Array(data.buffer)).size;
    });
  } finally {
    await browser.close();
    server.close();
  }
}
