/** The page of a run over HTTP: current after every change, and nothing else of the machine. */
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { startBackend } from '@dit-moe/tensor-ops/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeRoot, runTiny, tinyConfig } from '../testing/tiny-run.js';
import { serveRun } from './serve.js';

const { root, images, newRun } = makeRoot();
const run = newRun();
let watched: Awaited<ReturnType<typeof serveRun>>;
beforeAll(async () => {
  await startBackend('tensorflow');
  await runTiny(tinyConfig(images, 'sampling={every: 2, steps: 2}'), run);
  watched = await serveRun(run, 0);
});
afterAll(async () => {
  await watched.close();
  fs.rmSync(root, { recursive: true });
});

/** With a path as it is: `fetch` would tidy it. */
const get = (target: string, options: http.RequestOptions = {}) =>
  new Promise<{ status: number; headers: http.IncomingHttpHeaders; body: Buffer }>((resolve, reject) => {
    const { hostname, port } = new URL(watched.url);
    http
      .request({ hostname, port, path: target, agent: false, ...options }, (response) => {
        const parts: Buffer[] = [];
        response
          .on('data', (part) => parts.push(part))
          .on('end', () => resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(parts) }));
      })
      .on('error', reject)
      .end();
  });

test('the page shows the run, and its version changes with every line of metrics and every picture', async () => {
  const { status, headers, body } = await get('/');
  expect(status).toBe(200);
  expect(headers['content-type']).toMatch(/text\/html/);
  expect(headers['cache-control']).toBe('no-store');
  for (const part of ['4 of 4', 'Samples after step 2', 'Load of the experts', "fetch('/version')"])
    expect(body.toString()).toContain(part);
  const versions = [(await get('/version')).body.toString()];
  expect((await get('/version')).body.toString()).toBe(versions[0]);
  const file = path.join(run, 'metrics.jsonl');
  const last = JSON.parse(fs.readFileSync(file, 'utf8').trim().split('\n').at(-1)!);
  fs.appendFileSync(file, `${JSON.stringify({ ...last, step: 5, skipped: 17 })}\n`);
  versions.push((await get('/version')).body.toString());
  expect((await get('/')).body.toString()).toMatch(/steps skipped<\/dt><dd>17/);
  fs.copyFileSync(path.join(run, 'samples/step-00000004.png'), path.join(run, 'samples/step-00000005.png'));
  versions.push((await get('/version')).body.toString());
  fs.writeFileSync(file, fs.readFileSync(file, 'utf8').split('\n').slice(0, 2).join('\n'));
  fs.writeFileSync(path.join(run, 'run.lock'), '{}');
  versions.push((await get('/version')).body.toString());
  expect((await get('/')).body.toString()).toContain('<strong>Running.</strong>');
  // The process was killed: its lock stays, and nobody touches it.
  fs.utimesSync(path.join(run, 'run.lock'), new Date(0), new Date(0));
  versions.push((await get('/version')).body.toString());
  expect((await get('/')).body.toString()).toContain('<strong>Ended without a word after step 2; go on with --resume.</strong>');
  expect(new Set(versions).size).toBe(5);
  const picture = await get('/samples/step-00000005.png');
  expect(picture.headers['content-type']).toBe('image/png');
  expect(picture.body.equals(fs.readFileSync(path.join(run, 'samples/step-00000005.png')))).toBe(true);
});

test('nothing else is served, and only to pages of this address', async () => {
  for (const target of [
    '/config.json',
    '/samples/../config.json',
    '/samples/%2e%2e/config.json',
    '/samples/step-1.png',
    '//etc/passwd',
    '/run.lock',
  ])
    expect((await get(target)).status, target).toBe(404);
  expect((await get('/', { method: 'POST' })).status).toBe(405);
  // A name that somebody has pointed at this machine.
  expect((await get('/', { headers: { host: 'evil.example' } })).status).toBe(403);
  expect((await get('/')).headers['content-security-policy']).toContain("default-src 'none'");
  expect(new URL(watched.url).hostname).toBe('127.0.0.1');
});

test('a run that has just begun has a page, a folder without a run has none, a port in use is said', async () => {
  const young = newRun();
  fs.mkdirSync(young);
  for (const file of ['config.json', 'model.json']) fs.copyFileSync(path.join(run, file), path.join(young, file));
  const { url, close } = await serveRun(young, 0);
  expect(await (await fetch(url)).text()).toContain('0 of 4');
  await close();
  await expect(serveRun(root, 0)).rejects.toMatchObject({ code: 'E_OUTPUT' });
  await expect(serveRun(run, Number(new URL(watched.url).port))).rejects.toMatchObject({
    code: 'E_USAGE',
    message: expect.stringMatching(/in use/),
  });
});
