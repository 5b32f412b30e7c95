/** `serve`: the page and its API, or a folder in which the page runs without a server. */
import path from 'node:path';
import { exitCodes, OutputError, untilSignal } from '@dit-moe/kit';
import { bundledNames } from '../bundled-models.js';
import { checkBinding } from '../serve/access.js';
import { choices } from '../serve/choices.js';
import { ModelStore } from '../serve/model-store.js';
import { readPage } from '../serve/page-files.js';
import { createServer } from '../serve/server.js';
import { exportStatic } from '../serve/static-export.js';
import { type BackendFlags, type ModelFlags, openOptions, startFor } from '../start-pipeline.js';
import type { PageConfig } from '../web/engine.js';

export interface ServeFlags extends ModelFlags, BackendFlags {
  host: string;
  port: number;
  allowHost: string[];
  queue: number;
  static?: string;
  json: boolean;
}

/** Name of the environment variable with the token: on the command line, every user of the machine could read it. */
const TOKEN = 'DIT_MOE_SAMPLER_TOKEN';
const API_VERSION = '1';
/** A larger download is worth a warning. */
const LARGE_BYTES = 100e6;

/** Runs `serve` until a signal ends it, and returns the exit code. */
export async function serveCommand(given: readonly string[], flags: ServeFlags): Promise<number> {
  // The page shows the first one: the largest pictures, in colour.
  const store = await ModelStore.create(given.length === 0 ? bundledNames.toReversed() : given, openOptions(flags));
  const startEngine = () => startFor(store.cards, flags);
  if (flags.static !== undefined) {
    await startEngine(); // decoders are written from the device, and first pictures sampled there
    const bytes = await exportStatic(flags.static, store).finally(() => store.dispose());
    if (bytes > LARGE_BYTES) console.error(`The models have ${(bytes / 1e6).toFixed(0)} MB, which every visitor downloads.`);
    if (flags.json) console.log(JSON.stringify({ out: path.resolve(flags.static), models: store.models, bytes }));
    else
      console.log(
        `${store.models.length} model${store.models.length === 1 ? '' : 's'}, ${(bytes / 1e6).toFixed(1)} MB: put ${flags.static} on any host of static files.`,
      );
    return exitCodes.ok;
  }
  const token = process.env[TOKEN];
  const access = { host: flags.host, allowedHosts: flags.allowHost, ...(token !== undefined && { token }) };
  checkBinding(access);
  const page = await readPage();
  const config: PageConfig = { engine: 'server', ...choices };
  page.set('/config.json', { type: 'application/json', content: new TextEncoder().encode(JSON.stringify(config)) });
  const backend = await startEngine();
  const server = createServer({
    ...access,
    store,
    files: page,
    version: API_VERSION,
    queueLimit: flags.queue,
    onFailure: (error) => console.error(error),
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new OutputError(`Cannot listen on ${flags.host} port ${flags.port}: ${cause.message}`, { cause })),
    );
    server.listen(flags.port, flags.host, resolve);
  });
  const { port } = server.address() as { port: number };
  const address = `http://${flags.host.includes(':') ? `[${flags.host}]` : flags.host}:${port}/`;
  const names = store.models.map(({ name }) => name).join(', ');
  await untilSignal(() => {
    if (flags.json) console.log(JSON.stringify({ address, models: store.models, backend: backend.name }));
    else console.log(`Serving ${names} at ${address} (${backend.name}). End with Ctrl+C.`);
  });
  server.close();
  server.closeAllConnections();
  return exitCodes.ok;
}
