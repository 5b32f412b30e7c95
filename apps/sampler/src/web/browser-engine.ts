/** Samples by a model inside the browser, in a worker, so that the page stays quick. */
import type { ModelInfo, SampleEvent, SampleRequest } from '../serve/protocol.js';
import type { BrowserModel, Engine } from './engine.js';

/** A model inside the browser, to which further checkpoints can be given. */
export interface BrowserEngine extends Engine {
  /**
   * Opens a checkpoint of the reader's, which stays in this browser.
   * @throws Error if it is no complete model of this project
   */
  open(file: File, id: string): Promise<ModelInfo>;
}

/** Larger files would not fit into one piece of the browser's memory. */
const LARGEST_BYTES = 2 ** 31 - 1;

/** From the page to the worker: to open a model and say what it is, to sample, to stop. */
export type ToWorker =
  | { open: BrowserModel['file']; id: string }
  | { sample: SampleRequest; model: BrowserModel; guideWith?: BrowserModel | undefined }
  | { cancel: true };
/** What the worker computes with. */
export type BrowserBackend = 'webgpu' | 'wasm';
/** From the worker to the page: `ready` once; `opened` for a model; for each sampling, events and `ended`, which also tells any failure. */
export type FromWorker =
  | SampleEvent
  | { type: 'ready'; backend: BrowserBackend }
  | { type: 'opened'; info: ModelInfo }
  | { type: 'ended'; error?: string };

const NAMES: Record<BrowserBackend, string> = { webgpu: 'WebGPU', wasm: 'WebAssembly' };

/**
 * Starts the worker.
 * @param backend what to compute with (default: WebGPU where the browser has a graphics processor for it, else WebAssembly)
 */
export async function browserEngine(models: readonly BrowserModel[], backend: string | null): Promise<BrowserEngine> {
  const worker = new Worker(`worker.js${backend === null ? '' : `?backend=${encodeURIComponent(backend)}`}`, { type: 'module' });
  const send = (message: ToWorker): void => worker.postMessage(message);
  /** Hears the worker until it is `type` that it says. */
  const until = <T extends 'ready' | 'opened' | 'ended'>(
    type: T,
    onEvent: (event: SampleEvent) => void,
  ): Promise<FromWorker & { type: T }> =>
    new Promise((resolve, reject) => {
      worker.onerror = (event) => reject(new Error(event.message || 'The worker cannot be started.'));
      worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
        if (data.type === 'ended' && data.error !== undefined) reject(new Error(data.error));
        else if (data.type === type) resolve(data as FromWorker & { type: T });
        else onEvent(data as SampleEvent);
      };
    });
  const ready = await until('ready', () => {});
  const known = [...models];
  return {
    place: `in this browser (${NAMES[ready.backend]})`,
    models: async () => models,
    async open(file, id) {
      if (file.size > LARGEST_BYTES)
        throw new Error(`${file.name} is too large to be opened in a browser: give it to "dit-moe-sampler serve".`);
      const address = URL.createObjectURL(file);
      try {
        const opened = until('opened', () => {});
        send({ open: address, id });
        const { info } = await opened;
        known.push({ ...info, file: address });
        return info;
      } catch (error) {
        URL.revokeObjectURL(address);
        throw new Error((error as Error).message.replaceAll(address, file.name));
      }
    },
    async sample(request, signal, onEvent) {
      const cancel = () => send({ cancel: true });
      signal.addEventListener('abort', cancel);
      try {
        const ended = until('ended', onEvent);
        const modelOf = (wanted: string | undefined) => known.find(({ id }) => id === wanted);
        send({ sample: request, model: modelOf(request.model)!, guideWith: modelOf(request.guideWith) });
        await ended;
        signal.throwIfAborted();
      } finally {
        signal.removeEventListener('abort', cancel);
      }
    },
  };
}
