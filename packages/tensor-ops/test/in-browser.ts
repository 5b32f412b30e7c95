/** Runs code in headless Chromium with WebGPU. */
import http from 'node:http';
import esbuild from 'esbuild';
import { startBrowser, watchPage } from '../../../testing/browser.js';

/** What TensorFlow.js asks for in branches that only run on Node. */
const NODE_BRANCHES = ['fs', 'path', 'crypto', 'worker_threads', 'perf_hooks', 'util', 'os', 'node-fetch', 'string_decoder'];

/**
 * Bundles a file and calls its function `main` on a page.
 * @returns what `main` resolves to, which has to be JSON
 * @throws Error with the page's own message if it fails, or if the page reports errors, as WebGPU does of wrong shaders
 */
export async function runInBrowser<T>(file: string): Promise<T> {
  const { outputFiles } = await esbuild.build({
    entryPoints: [file],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    conditions: ['@dit-moe/source'],
    external: NODE_BRANCHES,
    logLevel: 'error',
    footer: { js: 'globalThis.main = main;' },
  });
  const server = http.createServer((request, response) => {
    if (request.url === '/main.js') response.setHeader('Content-Type', 'text/javascript').end(outputFiles[0].contents);
    else
      response.setHeader('Content-Type', 'text/html').end('<link rel="icon" href="data:,"><script type="module" src="main.js"></script>');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const browser = await startBrowser();
  try {
    const page = await browser.newPage();
    const problems: string[] = [];
    const url = `http://127.0.0.1:${(server.address() as { port: number }).port}/`;
    watchPage(page, url, problems);
    await page.goto(url);
    await page.waitForFunction('globalThis.main');
    const result = await page.evaluate('main()');
    if (problems.length > 0) throw new Error(problems.join('\n'));
    return result as T;
  } finally {
    await browser.close();
    server.close();
  }
}
