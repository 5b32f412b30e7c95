/** The HTTP server: the page, and the API of `openapi.ts`. */
import { once } from 'node:events';
import http, { type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { contactSheet, encodePng, joinPixels, pictureOf } from '@dit-moe/data';
import { settingsFor } from '@dit-moe/pipeline';
import { ArgumentError } from '@dit-moe/tensor-ops';
import { parseSettings, SettingsError } from '@dit-moe/tensor-ops/settings';
import { decode } from 'fast-png';
import { type AccessRules, checkBinding, checkOrigin, checkToken } from './access.js';
import { limitConnections } from './connection-limits.js';
import { HttpError } from './http-error.js';
import { KeptAnswers, Recording } from './kept-answers.js';
import { sampleLive } from './live-sampling.js';
import type { ModelStore } from './model-store.js';
import { openApi, requestSettings } from './openapi.js';
import { fromBase64, type SampleEvent, type SampleRequest } from './protocol.js';
import { GaveWayError, InferenceQueue, QueueFullError } from './queue.js';
import { startPicture } from './start-pixels.js';

export interface ServerOptions extends AccessRules {
  store: ModelStore;
  /** The page's files by path, such as `/index.html`. */
  files: ReadonlyMap<string, { type: string; content: Uint8Array }>;
  /** Version of the API. */
  version: string;
  /** Requests that may wait, and as many of those for idle time (default 8). */
  queueLimit?: number;
  /** Milliseconds after which a client that takes nothing of its answer is cut off (default two minutes). */
  idleTimeout?: number;
  /** Receives failures that the client is not told. */
  onFailure?: (error: unknown) => void;
}

/** Of a request's settings; a picture to start from and its mask come on top. */
const MAX_SETTINGS_BYTES = 64 * 1024;
/** A request must have arrived after this time: slow clients must not hold connections. */
const REQUEST_TIMEOUT_MS = 10_000;
const CHECK_TIMEOUTS_MS = 1000;
const IDLE_TIMEOUT_MS = 120_000;
/** Answers that a client has not taken may hold this much memory; then steps are left out. */
const MAX_UNSENT_BYTES = 1024 * 1024;
const RETRY_AFTER_S = 2;
/** A body may have thousands of mistakes. */
const MAX_MESSAGE_LINES = 6;

const securityHeaders = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cross-Origin-Opener-Policy': 'same-origin',
};

/**
 * Creates the server; it does not listen yet.
 * @throws UsageError for an address that others can reach, without a token
 */
export function createServer(options: ServerOptions): Server {
  checkBinding(options);
  const work: Work = { queue: new InferenceQueue(options.queueLimit ?? 8), kept: new KeptAnswers() };
  const server = http.createServer(
    {
      requestTimeout: REQUEST_TIMEOUT_MS,
      headersTimeout: REQUEST_TIMEOUT_MS,
      connectionsCheckingInterval: CHECK_TIMEOUTS_MS,
      keepAliveTimeout: 5000,
    },
    (request, response) => {
      // One that waits for its turn or for its picture is quiet, too, and is not cut off.
      response.setTimeout(options.idleTimeout ?? IDLE_TIMEOUT_MS, () => {
        if (request.socket.writableLength > 0) request.socket.destroy();
      });
      for (const [name, value] of Object.entries(securityHeaders)) response.setHeader(name, value);
      answer(request, response, options, work).catch((error) => refuse(response, error, options));
    },
  );
  limitConnections(server);
  server.on('clientError', refuseBrokenRequest);
  return server;
}

/** What all requests share. */
interface Work {
  queue: InferenceQueue;
  kept: KeptAnswers;
}

async function answer(request: IncomingMessage, response: ServerResponse, options: ServerOptions, work: Work): Promise<void> {
  checkOrigin(request, options);
  const path = /^[^?#]*/.exec(request.url ?? '')![0];
  if (!path.startsWith('/api/')) return sendFile(request, response, path, options);
  checkToken(request, options);
  if (path === '/api/models') {
    allow(request, ['GET']);
    return sendJson(response, 200, options.store.models);
  }
  if (path === '/api/openapi.json') {
    allow(request, ['GET']);
    return sendJson(response, 200, openApi(options.version));
  }
  if (path === '/api/samples') {
    allow(request, ['POST']);
    return sample(request, response, options, work);
  }
  throw new HttpError(404, 'E_NOT_FOUND', 'There is nothing at this address. The API is described at /api/openapi.json.');
}

function allow(request: IncomingMessage, methods: readonly string[]): void {
  if (!methods.includes(request.method!))
    throw new HttpError(405, 'E_METHOD', `Expected ${methods.join(' or ')}.`, { Allow: methods.join(', ') });
}

function sendFile(request: IncomingMessage, response: ServerResponse, path: string, { files }: ServerOptions): void {
  const file = files.get(path === '/' ? '/index.html' : path);
  if (file === undefined) throw new HttpError(404, 'E_NOT_FOUND', 'There is nothing at this address.');
  allow(request, ['GET', 'HEAD']);
  response.writeHead(200, { 'Content-Type': file.type, 'Content-Length': file.content.length, 'Cache-Control': 'no-cache' });
  response.end(request.method === 'HEAD' ? undefined : file.content);
}

function sendJson(response: ServerResponse, status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): void {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store', ...headers });
  response.end(text);
}

/** Streams the events of one sampling, or sends one picture. */
async function sample(request: IncomingMessage, response: ServerResponse, options: ServerOptions, { queue, kept }: Work): Promise<void> {
  const { idle, ...wanted } = await readRequest(request, options.store);
  const picture = /\bimage\/png\b/.test(request.headers.accept ?? '');
  const key = JSON.stringify(wanted);
  const gone = new AbortController();
  response.on('close', () => gone.abort(new HttpError(499, 'E_GONE', 'The client has closed the connection.')));
  const recording = new Recording(key);
  /** The last event of all. */
  let done: string | undefined;
  /** Whether the client takes its answer as fast as it comes. */
  const keepsUp = (): boolean => response.writableLength < MAX_UNSENT_BYTES;
  const send = (line: string): void => {
    if (picture || gone.signal.aborted) return;
    if (!response.headersSent) response.writeHead(200, { 'Content-Type': 'application/x-ndjson', 'Cache-Control': 'no-store' });
    response.write(line);
  };
  const emit = (event: SampleEvent): void => {
    const line = `${JSON.stringify(event)}\n`;
    if (event.type === 'step' || event.type === 'done') recording.add(line);
    if (event.type === 'done') done = line;
    if (event.type !== 'step' || keepsUp()) send(line);
  };
  /** What is known already, or nothing when the events were told. */
  const compute = async (signal: AbortSignal): Promise<readonly string[] | undefined> => {
    // Whoever waited may have waited for the same.
    const known = kept.get(key);
    if (known !== undefined) return known;
    const model = await options.store.get(wanted.model, wanted.guideWith);
    // The next one with this request gets the steps, too, that this client is too slow for.
    const ready = () => !picture && (recording.lines !== undefined || keepsUp());
    await sampleLive(model, wanted, { signal, emit, ready });
    // A picture's answer has no steps.
    if (!picture && recording.lines !== undefined) kept.set(key, recording.lines);
    return undefined;
  };
  const onPosition = (position: number) => emit({ type: 'queued', position });
  try {
    const known =
      kept.get(key) ??
      (idle === true
        ? await queue.runIdle(compute, gone.signal, onPosition)
        : await queue.run(() => compute(gone.signal), gone.signal, onPosition));
    done ??= known?.at(-1);
    for (const line of known ?? []) {
      send(line);
      if (response.writableNeedDrain) await once(response, 'drain', { signal: gone.signal });
    }
  } catch (error) {
    if (gone.signal.aborted) return;
    if (!response.headersSent) throw error;
    if (error instanceof GaveWayError) emit({ type: 'error', code: error.code, message: error.message });
    else {
      options.onFailure?.(error);
      emit({ type: 'error', code: 'E_FAILED', message: 'The sampler failed; its log says why.' });
    }
  }
  if (!picture) {
    response.end();
    return;
  }
  const { images } = JSON.parse(done!) as Extract<SampleEvent, { type: 'done' }>;
  response.writeHead(200, { 'Content-Type': 'image/png', 'Cache-Control': 'no-store' });
  response.end(joined(images));
}

/** One picture of all images. */
function joined(images: readonly string[]): Uint8Array {
  const pictures = images.map((image) => {
    const { data, width, height, channels } = decode(fromBase64(image));
    return pictureOf(data as Uint8Array, width, height, channels);
  });
  return encodePng(contactSheet(joinPixels(pictures), Math.ceil(Math.sqrt(pictures.length))));
}

async function readRequest(request: IncomingMessage, store: ModelStore): Promise<SampleRequest> {
  if (!/^application\/json\s*(;|$)/i.test(request.headers['content-type'] ?? ''))
    throw new HttpError(415, 'E_MEDIA_TYPE', 'Expected the content type application/json.');
  const text = await readBody(request, mostBytes(store));
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw new HttpError(400, 'E_JSON', 'The body is not JSON.');
  }
  const wanted = parseSettings(requestSettings, body, 'The request');
  const model = store.info(wanted.model);
  if (model === undefined) throw new HttpError(400, 'E_REQUEST', 'model: there is no such model; see /api/models');
  if (wanted.labels.some((label) => label >= model.classNames.length))
    throw new HttpError(400, 'E_REQUEST', `labels: expected 0 to ${model.classNames.length - 1} for this model`);
  const { guideWith, init, ...settings } = wanted;
  if (guideWith !== undefined && !model.guides.includes(guideWith))
    throw new HttpError(
      400,
      'E_REQUEST',
      `guideWith: expected one of the guides of this model: ${model.guides.join(', ') || 'it has none'}`,
    );
  // An answer may have begun before the sampling does.
  const { solver, steps } = settingsFor(store.card(model.id)!, settings, guideWith === undefined ? undefined : store.card(guideWith));
  if (init === undefined) return wanted;
  if (!model.encodes) throw new HttpError(400, 'E_REQUEST', 'init: this model has no autoencoder that could encode a picture');
  if (steps === undefined) throw new HttpError(400, 'E_REQUEST', `init: expected a solver with a number of steps, not ${solver}`);
  startPicture(init, model);
  return wanted;
}

/** Bytes that a body may have: settings, and in base64 the three channels and the mask of the largest model's picture. */
function mostBytes({ models }: ModelStore): number {
  const pixels = models.map(({ encodes, height, width }) => (encodes ? height * width : 0));
  return MAX_SETTINGS_BYTES + Math.ceil((4 * 4 * Math.max(...pixels)) / 3);
}

async function readBody(request: IncomingMessage, most: number): Promise<string> {
  const tooLarge = () =>
    // The rest of the body is not read: the connection cannot be used again.
    new HttpError(413, 'E_BODY_SIZE', `The body may have at most ${most} bytes.`, { Connection: 'close' });
  if (Number(request.headers['content-length'] ?? 0) > most) throw tooLarge();
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > most) throw tooLarge();
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof HttpError) throw error;
    throw new HttpError(400, 'E_BODY', 'The body did not arrive whole.');
  }
  return Buffer.concat(chunks).toString('utf8');
}

function refuse(response: ServerResponse, error: unknown, { onFailure }: ServerOptions): void {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const known =
    error instanceof QueueFullError || error instanceof GaveWayError
      ? new HttpError(429, error.code, error.message, { 'Retry-After': String(RETRY_AFTER_S) })
      : error instanceof HttpError
        ? error
        : error instanceof ArgumentError || error instanceof SettingsError
          ? new HttpError(400, 'E_REQUEST', error.message.split('\n', MAX_MESSAGE_LINES).join('\n'))
          : new HttpError(500, 'E_FAILED', 'The sampler failed; its log says why.');
  if (known.status === 500) onFailure?.(error);
  const where = known.status === 400 && error instanceof ArgumentError ? error.where : undefined;
  sendJson(response, known.status, { error: { code: known.code, message: known.message, where } }, known.headers);
}

/** What is not even HTTP, or came too slowly. */
function refuseBrokenRequest(error: Error & { code?: string }, socket: Socket): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const status =
    error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
      ? '408 Request Timeout'
      : error.code === 'HPE_HEADER_OVERFLOW'
        ? '431 Request Header Fields Too Large'
        : '400 Bad Request';
  socket.write(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
  // Does not wait for the client to close its side, too.
  socket.destroySoon();
}
