/** A small web server that shows the report of a run and keeps it current. */

import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { UsageError } from '@dit-moe/kit';
import { renderReport } from '../report/report.js';
import { readRun, signOfLife } from '../report/run-data.js';
import { isAlive } from '../report/verdict.js';

/** Fetches the page again when the run has written something, and replaces its content without moving it. */
const script = `<script>
let version;
setInterval(async () => {
  try {
    const now = await (await fetch('/version')).text();
    if (version !== undefined && now !== version) {
      const page = new DOMParser().parseFromString(await (await fetch('/')).text(), 'text/html');
      const open = document.querySelector('details')?.open;
      document.querySelector('main').replaceWith(page.querySelector('main'));
      if (open) document.querySelector('details').open = true;
    }
    version = now;
  } catch {} // The server has ended; the page stays.
}, 2000);
</script>`;

const headers = {
  'X-Content-Type-Options': 'nosniff',
  'Content-Security-Policy':
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src 'self' data:; connect-src 'self'",
  'Cache-Control': 'no-store',
};

/**
 * Serves the run on the loopback interface.
 * @param port 0 for a free one
 * @throws OutputError if the folder holds no run
 * @throws UsageError if the port is in use
 */
export async function serveRun(out: string, port: number): Promise<{ url: string; close(): Promise<void> }> {
  await readRun(out);
  const server = http.createServer((request, response) => {
    answer(out, request, (server.address() as AddressInfo).port)
      .then(({ status, type, body }) => response.writeHead(status, { ...headers, 'Content-Type': type }).end(body))
      .catch((error: Error) => response.writeHead(500, { ...headers, 'Content-Type': 'text/plain' }).end(`${error.message}\n`));
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve)).catch((error) => {
    throw error.code === 'EADDRINUSE' ? new UsageError(`Port ${port} is in use. Give another with --port, or 0 for a free one.`) : error;
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(
  out: string,
  request: http.IncomingMessage,
  port: number,
): Promise<{ status: number; type: string; body: string | Buffer }> {
  const text = (status: number, body: string) => ({ status, type: 'text/plain; charset=utf-8', body });
  if (request.method !== 'GET' && request.method !== 'HEAD') return text(405, 'Only GET.\n');
  // A page elsewhere must not read the run through a name that it has pointed at this machine.
  if (![`127.0.0.1:${port}`, `localhost:${port}`].includes(request.headers.host ?? '')) return text(403, 'Unknown host.\n');
  const { pathname } = new URL(request.url ?? '/', 'http://localhost');
  if (pathname === '/') return { status: 200, type: 'text/html; charset=utf-8', body: renderReport(await readRun(out), script) };
  if (pathname === '/version') return text(200, await version(out));
  const sample = /^\/samples\/(step-\d+\.png)$/.exec(pathname)?.[1];
  if (sample !== undefined) {
    const body = await fs.readFile(path.join(out, 'samples', sample)).catch(() => undefined);
    if (body !== undefined) return { status: 200, type: 'image/png', body };
  }
  return text(404, 'Nothing here.\n');
}

/** Changes when the run has written metrics or samples, and when its process has ended. */
async function version(out: string): Promise<string> {
  const size = (await fs.stat(path.join(out, 'metrics.jsonl')).catch(() => undefined))?.size ?? 0;
  const samples = await fs.readdir(path.join(out, 'samples')).catch(() => [] as string[]);
  return createHash('sha256')
    .update(JSON.stringify([size, samples, isAlive(await signOfLife(out), Date.now())]))
    .digest('hex');
}
