import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { pictureOf } from '@dit-moe/data';
import { openPipeline } from '@dit-moe/pipeline/node';
import { startBackend } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { decode } from 'fast-png';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { tinyCard, writeTinyModel } from '../../../../packages/pipeline/src/testing/tiny-model.js';
import { undescribed } from '../../../../testing/undescribed.js';
import { checkBinding } from './access.js';
import { ModelStore } from './model-store.js';
import { fromBase64, limits, type SampleEvent, toBase64 } from './protocol.js';
import { GaveWayError, InferenceQueue, QueueFullError } from './queue.js';
import { createServer, type ServerOptions } from './server.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'serve-'));
const file = path.join(root, 'tiny.safetensors');
const files = new Map([['/index.html', { type: 'text/html', content: new TextEncoder().encode('<p>page</p>') }]]);
const failures: unknown[] = [];
const servers: http.Server[] = [];

const weaker = path.join(root, 'weaker.safetensors');
const stranger = path.join(root, 'stranger.safetensors');

async function listen(more: Partial<ServerOptions> = {}): Promise<{ port: number; server: http.Server; store: ModelStore }> {
  const store = await ModelStore.create([file, weaker, stranger], {});
  const server = createServer({ host: '127.0.0.1', store, files, version: '1', onFailure: (e) => failures.push(e), ...more });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { port: (server.address() as net.AddressInfo).port, server, store };
}

interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: Buffer;
}

/** A request with any headers, which `fetch` does not allow. */
function ask(
  port: number,
  url: string,
  options: { method?: string; headers?: Record<string, string>; body?: string | Buffer } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      { port, host: '127.0.0.1', path: url, method: options.method ?? 'GET', headers: options.headers },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk) => chunks.push(chunk));
        response.on('end', () => resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks) }));
        response.on('error', reject);
      },
    );
    request.on('error', reject);
    request.end(options.body);
  });
}
const post = (port: number, body: unknown, headers: Record<string, string> = {}): Promise<Answer> =>
  ask(port, '/api/samples', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
const events = ({ body }: Answer): SampleEvent[] =>
  body
    .toString()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as SampleEvent);
const errorOf = ({ body }: Answer): { code: string; message: string; where?: string } => JSON.parse(body.toString()).error;

/** A picture to start from. */
const given = { pixels: toBase64(new Uint8Array(48)) };
const wanted = { model: 'tiny', labels: [2, 0], seed: 4, steps: 3, guidance: 3 };
const unfit = { ...wanted, guidanceRule: 'apg:momentum=1', solver: 'heun' };
let port: number;

beforeAll(async () => {
  await startBackend('tensorflow');
  await writeTinyModel(file);
  await writeTinyModel(weaker, { ...tinyCard, config: { ...tinyCard.config, moe: undefined } });
  await writeTinyModel(stranger, { ...tinyCard, objective: 'ddpm' });
  ({ port } = await listen());
});
afterAll(() => {
  for (const server of servers) {
    server.close();
    server.closeAllConnections();
  }
  fs.rmSync(root, { recursive: true });
});

describe('sampling', () => {
  test('streams every step with the experts, and ends with what the library gives', async () => {
    const answer = await post(port, wanted);
    expect(answer.headers['content-type']).toBe('application/x-ndjson');
    const all = events(answer);
    expect(all.map(({ type }) => type)).toEqual(['step', 'step', 'step', 'done']);
    const step = all[1] as Extract<SampleEvent, { type: 'step' }>;
    expect(step).toMatchObject({ step: 2, steps: 3, height: 4, width: 4, channels: 1 });
    expect(fromBase64(step.pixels).length).toBe(2 * 16);
    // 1 layer, 2 images, 4 patches, 2 of 3 experts.
    const experts = fromBase64(step.experts!);
    expect(experts.length).toBe(2 * 4 * 2);
    expect(Math.max(...experts)).toBeLessThan(3);
    const done = all[3] as Extract<SampleEvent, { type: 'done' }>;
    const pipeline = await openPipeline(file);
    const settings = { solver: 'euler', steps: 3, guidance: 3, seed: 4 } as const;
    const expected = await pipeline.sample({ ...settings, labels: [2, 0] });
    pipeline.dispose();
    const found = done.images.map((png) => decode(fromBase64(png)));
    expect(Uint8Array.from(found.flatMap(({ data }) => [...data]))).toEqual(expected.data);
    expect(JSON.parse(found[1].text['Comment'])).toMatchObject({ ...settings, label: 0, index: 1, model: 'tiny' });
  });

  test('guides by a rule, and with another of its models', async () => {
    const models = JSON.parse((await ask(port, '/api/models')).body.toString()) as { id: string; guides: string[] }[];
    expect(models.map(({ id, guides }) => [id, guides])).toEqual([
      ['tiny', ['weaker']],
      ['weaker', ['tiny']],
      ['stranger', []],
    ]);
    const choice = { guidanceRule: 'apg:momentum=-0.5', guideWith: 'weaker' };
    const done = events(await post(port, { ...wanted, ...choice })).at(-1) as Extract<SampleEvent, { type: 'done' }>;
    const found = done.images.map((png) => decode(fromBase64(png)));
    const pipeline = await openPipeline(file, { guideWith: weaker });
    const { model: _, ...request } = wanted;
    const expected = await pipeline.sample({ ...request, guidanceRule: choice.guidanceRule });
    pipeline.dispose();
    expect(Uint8Array.from(found.flatMap(({ data }) => [...data]))).toEqual(expected.data);
    expect(JSON.parse(found[0].text['Comment'])).toMatchObject(choice);
  });

  test('starts from a picture, and completes it where its mask says so', async () => {
    const rgb = Uint8Array.from({ length: 48 }, (_, i) => 5 * Math.floor(i / 3));
    const mask = Uint8Array.from({ length: 16 }, (_, i) => (i % 4 < 2 ? 255 : 0));
    const picture = pictureOf(rgb, 4, 4);
    const pipeline = await openPipeline(file);
    for (const [init, meant, noted] of [
      [
        { pixels: toBase64(rgb), strength: 0.3 },
        { picture, strength: 0.3 },
        { init: 'given', strength: 0.3 },
      ],
      [
        { pixels: toBase64(rgb), mask: toBase64(mask) },
        { picture, mask: pictureOf(mask, 4, 4, 1) },
        { init: 'given', strength: 1, mask: 'given' },
      ],
    ] as const) {
      const done = events(await post(port, { ...wanted, steps: 10, init })).at(-1) as Extract<SampleEvent, { type: 'done' }>;
      const found = done.images.map((png) => decode(fromBase64(png)));
      const { model: _, ...request } = wanted;
      const expected = await pipeline.sample({ ...request, steps: 10, init: meant });
      expect(Uint8Array.from(found.flatMap(({ data }) => [...data]))).toEqual(expected.data);
      expect(JSON.parse(found[0].text['Comment'])).toMatchObject(noted);
    }
    pipeline.dispose();
  });

  test('gives one picture on request', async () => {
    const { status, headers, body } = await post(port, { ...wanted, labels: [0, 1, 2] }, { Accept: 'image/png' });
    expect([status, headers['content-type']]).toEqual([200, 'image/png']);
    expect(decode(body)).toMatchObject({ width: 9, height: 9 });
  });

  test('ends when the client goes, and serves the next one', async () => {
    const controller = new AbortController();
    const body = JSON.stringify({ ...wanted, labels: Array(limits.images).fill(0), steps: limits.steps, solver: 'heun' });
    const response = await fetch(`http://127.0.0.1:${port}/api/samples`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body,
      signal: controller.signal,
    });
    const reader = response.body!.getReader();
    await reader.read();
    controller.abort();
    await reader.read().catch(() => {});
    const started = performance.now();
    expect((await post(port, { ...wanted, seed: 60 })).status).toBe(200);
    // All 250 steps would take many times as long.
    expect(performance.now() - started).toBeLessThan(60_000);
  });

  test('gives what it gave before, without computing it again', async () => {
    const fresh = await listen();
    const get = vi.spyOn(fresh.store, 'get');
    const first = await post(fresh.port, wanted);
    expect((await post(fresh.port, wanted)).body).toEqual(first.body);
    expect((await post(fresh.port, { ...wanted, idle: true })).body).toEqual(first.body);
    expect(decode((await post(fresh.port, wanted, { Accept: 'image/png' })).body)).toMatchObject({ width: 9 });
    expect(get).toHaveBeenCalledTimes(1);
    expect((await post(fresh.port, { ...wanted, seed: 5 })).body).not.toEqual(first.body);
    expect(get).toHaveBeenCalledTimes(2);
  });

  test('keeps an answer whole that a slow client got with steps left out', async () => {
    const fresh = await listen();
    const get = vi.spyOn(fresh.store, 'get');
    fresh.server.prependOnceListener('request', (_, response) => Object.defineProperty(response, 'writableLength', { value: 2 ** 21 }));
    const slow = events(await post(fresh.port, wanted));
    expect(slow.map(({ type }) => type)).toEqual(['done']);
    const next = events(await post(fresh.port, wanted));
    expect(next.map(({ type }) => type)).toEqual(['step', 'step', 'step', 'done']);
    expect(next.at(-1)).toEqual(slow.at(-1));
    expect(get).toHaveBeenCalledTimes(1);
  });

  test('waits for who waits: only a client that takes nothing of its answer is cut off', async () => {
    const large = { type: 'text/plain', content: new Uint8Array(64e6) };
    const quick = await listen({ idleTimeout: 200, files: new Map([['/large', large]]) });
    const get = quick.store.get.bind(quick.store);
    quick.store.get = async (...what) => {
      await new Promise((resolve) => setTimeout(resolve, 700));
      return get(...what);
    };
    const [picture, steps] = await Promise.all([
      post(quick.port, wanted, { Accept: 'image/png' }),
      post(quick.port, { ...wanted, seed: 62 }),
    ]);
    expect(decode(picture.body).width).toBe(9);
    expect(events(steps).at(-1)!.type).toBe('done');
    const lazy = net.connect(quick.port, '127.0.0.1', () => lazy.write(`GET /large HTTP/1.1\r\nHost: 127.0.0.1:${quick.port}\r\n\r\n`));
    lazy.pause();
    const [{ socket }] = (await once(quick.server, 'request')) as [http.IncomingMessage];
    await expect.poll(() => socket.destroyed, { timeout: 20_000 }).toBe(true);
    lazy.destroy();
  });

  test('ends what nobody asked for when somebody comes', async () => {
    const body = JSON.stringify({ ...wanted, labels: Array(limits.images).fill(0), steps: limits.steps, solver: 'heun', idle: true });
    const response = await fetch(`http://127.0.0.1:${port}/api/samples`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body,
    });
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = (await reader.read()).value!;
    expect((await post(port, { ...wanted, seed: 61 })).status).toBe(200);
    for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
    const all = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as SampleEvent);
    expect(all.at(-1)).toMatchObject({ type: 'error', code: 'E_GAVE_WAY' });
    expect(all.length).toBeLessThan(limits.steps);
  });

  test('leaves no tensor', async () => {
    await post(port, wanted); // opens the model, which stays open
    const before = tf.memory().numTensors;
    await post(port, { ...wanted, seed: 50 });
    await post(port, { ...wanted, seed: 50, solver: 'unipc' });
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('refusals', () => {
  const json = 'application/json';
  test.each([
    ['a body that is no JSON', '{"model":', 400, 'E_JSON'],
    ['another type', [], 400, 'E_REQUEST'],
    ['an unknown model', { ...wanted, model: '../../etc/passwd' }, 400, 'E_REQUEST'],
    ['an unknown field', { ...wanted, out: '/tmp/x' }, 400, 'E_REQUEST'],
    ['__proto__', '{"model":"tiny","labels":[0],"__proto__":{"x":1}}', 400, 'E_REQUEST'],
    ['a class that is not there', { ...wanted, labels: [3] }, 400, 'E_REQUEST'],
    ['no image', { ...wanted, labels: [] }, 400, 'E_REQUEST'],
    ['too many images', { ...wanted, labels: Array(limits.images + 1).fill(0) }, 400, 'E_REQUEST'],
    ['too many steps', { ...wanted, steps: limits.steps + 1 }, 400, 'E_REQUEST'],
    ['half a step', { ...wanted, steps: 1.5 }, 400, 'E_REQUEST'],
    ['an endless guidance', '{"model":"tiny","labels":[0],"guidance":1e999}', 400, 'E_REQUEST'],
    ['a seed beyond 2^53', '{"model":"tiny","labels":[0],"seed":9007199254740993}', 400, 'E_REQUEST'],
    ['an interval backwards', { ...wanted, interval: [0.8, 0.2] }, 400, 'E_REQUEST'],
    ['an unknown rule of guidance', { ...wanted, guidanceRule: 'agp' }, 400, 'E_REQUEST'],
    ['a rule with a solver that it does not fit', unfit, 400, 'E_REQUEST'],
    ['a guide that is not there', { ...wanted, guideWith: 'nobody' }, 400, 'E_REQUEST'],
    ['a guide of another kind', { ...wanted, guideWith: 'stranger' }, 400, 'E_REQUEST'],
    ['a picture of another size', { ...wanted, init: { pixels: toBase64(new Uint8Array(47)) } }, 400, 'E_REQUEST'],
    ['a picture that is no base64', { ...wanted, init: { pixels: '***' } }, 400, 'E_REQUEST'],
    ['a mask of another size', { ...wanted, init: { ...given, mask: toBase64(new Uint8Array(48)) } }, 400, 'E_REQUEST'],
    ['no noise at all', { ...wanted, init: { ...given, strength: 0 } }, 400, 'E_REQUEST'],
    ['a picture with a solver that chooses its steps', { ...wanted, steps: undefined, solver: 'dopri5', init: given }, 400, 'E_REQUEST'],
    ['an unknown solver', { ...wanted, solver: 'constructor' }, 400, 'E_REQUEST'],
    ['a large body', ' '.repeat(70_000), 413, 'E_BODY_SIZE'],
  ])('%s', async (_, body, status, code) => {
    const answer = await post(port, body);
    expect([answer.status, errorOf(answer).code]).toEqual([status, code]);
    expect(errorOf(answer).message).not.toMatch(/\bat .*:\d+|node:/);
    if (body === unfit) expect(errorOf(answer).where).toBe('guidance rule apg');
  });

  test.each([
    ['another content type', '/api/samples', { method: 'POST', headers: { 'Content-Type': 'text/plain' }, body: '{}' }, 415],
    ['another method', '/api/samples', {}, 405],
    ['another method of a file', '/', { method: 'DELETE' }, 405],
    ['another address', '/api/nothing', {}, 404],
    ['a way out of the page', '/../../package.json', {}, 404],
    ['a foreign host', '/api/models', { headers: { Host: 'evil.example:80' } }, 403],
    ['a host that is none', '/', { headers: { Host: 'a b' } }, 403],
    ['a foreign origin', '/api/models', { headers: { Origin: 'http://evil.example' } }, 403],
    ['no origin at all', '/api/models', { headers: { Origin: 'null' } }, 403],
    ['a request by another site', '/api/models', { headers: { 'Sec-Fetch-Site': 'cross-site' } }, 403],
    [
      'a large body in chunks',
      '/api/samples',
      { method: 'POST', headers: { 'Content-Type': json, 'Transfer-Encoding': 'chunked' }, body: ' '.repeat(70_000) },
      413,
    ],
  ])('%s', async (_, url, options, status) => {
    const answer = await ask(port, url, options as Parameters<typeof ask>[2]);
    expect(answer.status).toBe(status);
    if (status === 405) expect(answer.headers.allow).toBeTruthy();
  });

  test('of what others could reach without a token, and of a wrong token', async () => {
    expect(() => checkBinding({ host: '0.0.0.0' })).toThrow(/token/);
    expect(() => checkBinding({ host: '0.0.0.0', token: 'short' })).toThrow(/16 characters/);
    const token = 'a-token-of-some-length';
    const guarded = await listen({ host: '0.0.0.0', token });
    expect((await ask(guarded.port, '/api/models')).status).toBe(401);
    expect((await ask(guarded.port, '/api/models', { headers: { Authorization: 'Bearer wrong' } })).status).toBe(401);
    expect((await ask(guarded.port, '/api/models', { headers: { Authorization: `Bearer ${token}` } })).status).toBe(200);
    expect((await ask(guarded.port, '/')).status).toBe(200);
  });

  test('of what is not HTTP', async () => {
    const answer = await new Promise<string>((resolve) => {
      const socket = net.connect(port, '127.0.0.1', () => socket.write('\x16\x03\x01nonsense\r\n\r\n'));
      let text = '';
      socket.on('data', (chunk) => (text += chunk));
      socket.on('close', () => resolve(text));
    });
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
  });

  test('when too many wait', async () => {
    const busy = await listen({ queueLimit: 1 });
    const long = { ...wanted, labels: Array(limits.images).fill(1), steps: limits.steps };
    const answers = await Promise.all(Array.from({ length: 4 }, () => post(busy.port, { ...long, steps: 60 })));
    const refused = answers.filter(({ status }) => status === 429);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 429, 429]);
    for (const answer of refused) expect(answer.headers['retry-after']).toBe('2');
    const waited = answers.filter(({ status }) => status === 200).map(events);
    expect(waited.filter(([first]) => first.type === 'queued')).toHaveLength(1);
  });

  test('of a failure inside say nothing of it', async () => {
    const broken = await listen();
    broken.store.get = () => Promise.reject(new Error(`secret at ${root}`));
    const answer = await post(broken.port, wanted);
    expect(answer.status).toBe(500);
    expect(answer.body.toString()).not.toMatch(/secret/);
    expect(String(failures.at(-1))).toMatch(/secret/);
  });
});

describe('the page and the description', () => {
  test('come with headers that keep other sites out', async () => {
    const { status, headers, body } = await ask(port, '/');
    expect([status, body.toString()]).toEqual([200, '<p>page</p>']);
    expect(headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'content-security-policy': expect.stringMatching(/default-src 'none'/),
    });
  });

  test('describe what the server takes', async () => {
    const description = JSON.parse((await ask(port, '/api/openapi.json')).body.toString());
    expect(description.openapi).toBe('3.1.0');
    expect(Object.keys(description.paths)).toEqual(['/api/models', '/api/samples', '/api/openapi.json']);
    const { properties, required } = description.components.schemas.SampleRequest;
    expect(required).toEqual(['model', 'labels']);
    expect(properties.steps.maximum).toBe(limits.steps);
    expect(properties.labels.maxItems).toBe(limits.images);
    for (const schema of Object.values(description.components.schemas)) expect(undescribed(schema)).toEqual([]);
    const references = JSON.stringify(description).match(/#\/components\/schemas\/\w+/g)!;
    for (const reference of references) expect(description.components.schemas[reference.split('/').at(-1)!]).toBeDefined();
    const [model] = JSON.parse((await ask(port, '/api/models')).body.toString());
    expect(model).toEqual({
      id: 'tiny',
      name: 'tiny',
      step: 7,
      classNames: [...tinyCard.classNames],
      height: 4,
      width: 4,
      channels: 1,
      grid: [2, 2],
      layers: 1,
      experts: 3,
      router: 'token',
      expertsPerPatch: [2],
      expertsVary: false,
      encodes: true,
      guided: true,
      guides: ['weaker'],
      defaults: { solver: 'euler', steps: 50, guidance: 2 },
    });
  });
});

test('the queue keeps the order, tells places, and lets go', async () => {
  const queue = new InferenceQueue(2);
  const order: string[] = [];
  const places: number[] = [];
  let release = () => {};
  const first = queue.run(() => new Promise<void>((resolve) => (release = resolve)), new AbortController().signal);
  const leaving = new AbortController();
  const second = queue.run(async () => void order.push('second'), leaving.signal);
  const third = queue.run(
    async () => void order.push('third'),
    new AbortController().signal,
    (place) => places.push(place),
  );
  await expect(queue.run(async () => {}, new AbortController().signal)).rejects.toThrow(QueueFullError);
  leaving.abort(new Error('gone'));
  await expect(second).rejects.toThrow('gone');
  const fourth = queue.run(async () => void order.push('fourth'), new AbortController().signal);
  release();
  await Promise.all([first, third, fourth]);
  expect(order).toEqual(['third', 'fourth']);
  expect(places).toEqual([2, 1]);
  expect(queue.length).toBe(0);
});

test('idle tasks wait for everybody else, are not counted, and give way', async () => {
  const queue = new InferenceQueue(1);
  const order: string[] = [];
  const places: number[] = [];
  const { signal } = new AbortController();
  let release = () => {};
  const first = queue.run(() => new Promise<void>((resolve) => (release = resolve)), signal);
  const idle = queue.runIdle(
    (giveWay) => {
      order.push('idle');
      return new Promise<void>((_, reject) => giveWay.addEventListener('abort', () => reject(giveWay.reason)));
    },
    signal,
    (place) => places.push(place),
  );
  const second = queue.run(async () => void order.push('second'), signal);
  release();
  await Promise.all([first, second]);
  await expect.poll(() => order).toEqual(['second', 'idle']);
  expect(places).toEqual([1, 2, 1]);
  const third = queue.run(async () => void order.push('third'), signal);
  await expect(idle).rejects.toThrow(GaveWayError);
  await third;
  expect(order).toEqual(['second', 'idle', 'third']);
});

test('an idle task gives way from the moment in which its turn comes', async () => {
  const queue = new InferenceQueue(2);
  const { signal } = new AbortController();
  let release = () => {};
  const first = queue.run(() => new Promise<void>((resolve) => (release = resolve)), signal);
  const task = vi.fn(async () => {});
  const idle = queue.runIdle(task, signal);
  let second: Promise<void> | undefined;
  // Those behind are told before the task begins.
  const last = queue.runIdle(
    async () => {},
    signal,
    (place) => {
      if (place === 1) second ??= queue.run(async () => {}, signal);
    },
  );
  release();
  await expect(idle).rejects.toThrow(GaveWayError);
  await Promise.all([first, second, last]);
  expect(second).toBeDefined();
  expect(task).not.toHaveBeenCalled();
});

test('of idle tasks, too, no more than the limit wait', async () => {
  const queue = new InferenceQueue(1);
  const { signal } = new AbortController();
  let release = () => {};
  const first = queue.run(() => new Promise<void>((resolve) => (release = resolve)), signal);
  const idle = queue.runIdle(async () => {}, signal);
  const refused = queue.runIdle(async () => {}, signal).catch((error: unknown) => error);
  const second = queue.run(async () => {}, signal);
  release();
  await Promise.all([first, second, idle]);
  expect(await refused).toBeInstanceOf(QueueFullError);
});
