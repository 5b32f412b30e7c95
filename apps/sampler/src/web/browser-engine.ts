/** Samples by a model inside the browser, in a worker, so that the page stays quick. */
import type { SampleEvent, SampleRequest } from '../serve/protocol.js';
import type { BrowserModel, Engine } from './engine.js';

/** From the page to the worker. */
export type ToWorker = { sample: SampleRequest; model: BrowserModel; guideWith?: BrowserModel | undefined } | { cancel: true };
/** What the worker computes with. */
export type BrowserBackend = 'webgpu' | 'wasm';
/** From the worker to the page: `ready` once; then, for each request, events and `ended`. */
export type FromWorker = SampleEvent | { type: 'ready'; backend: BrowserBackend } | { type: 'ended'; error?: string };

const NAMES: Record<BrowserBackend, string> = { webgpu: 'WebGPU', wasm: 'WebAssembly' };

/**
 * Starts the worker.
 * @param backend what to compute with (default: WebGPU where the browser has a graphics processor for it, else WebAssembly)
 */
export async function browserEngine(models: readonly BrowserModel[], backend: string | null): Promise<Engine> {
  const worker = new Worker(`worker.js${backend === null ? '' : `?backend=${encodeURIComponent(backend)}`}`, { type: 'module' });
  const send = (message: ToWorker): void => worker.postMessage(message);
  /** Hears the worker until it is `type` that it says. */
  const until = <T extends 'ready' | 'ended'>(type: T, onEvent: (event: SampleEvent) => void): Promise<FromWorker & { type: T }> =>
    new Promise((resolve, reject) => {
      worker.onerror = (event) => reject(new Error(event.message || 'The worker cannot be started.'));
      worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
        if (data.type === 'ended' && data.error !== undefined) reject(new Error(data.error));
        else if (data.type === type) resolve(data as FromWorker & { type: T });
        else onEvent(data as SampleEvent);
      };
    });
  const ready = await until('ready', () => {});
  return {
    place: `in this browser (${NAMES[ready.backend]})`,
    models: async () => models,
    async sample(request, signal, onEvent) {
      const cancel = () => send({ cancel: true });
      signal.addEventListener('abort', cancel);
      try {
        const ended = until('ended', onEvent);
        const modelOf = (wanted: string | undefined) => models.find(({ id }) => id === wanted);
        send({ sample: request, model: modelOf(request.model)!, guideWith: modelOf(request.guideWith) });
        await ended;
        signal.throwIfAborted();
      } finally {
        signal.removeEventListener('abort', cancel);
      }
    },
  };
}
