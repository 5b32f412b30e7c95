/** Samples by a model inside the browser, in a worker, so that the page stays quick. */
import { firstRequest } from '../serve/first-request.js';
import type { ModelInfo, SampleEvent, SampleRequest } from '../serve/protocol.js';
import { type BrowserModel, type Engine, type Objective, RefusalError } from './engine.js';

/** A model inside the browser, to which further checkpoints can be given. */
export interface BrowserEngine extends Engine {
  /**
   * Opens a checkpoint of the reader's, which stays in this browser.
   * @param objective how it was trained, if its file does not say so
   * @throws RefusalError if it is no complete model, with a `where` that ends with `: objective` if its training has to be told
   */
  open(file: File, id: string, objective?: Objective): Promise<ModelInfo>;
}

/** WebAssembly has 4 GB of memory. */
const LARGEST_BYTES = 4e9;

/** From the page to the worker: to open a model and say what it is, to sample, to stop. */
export type ToWorker =
  | { open: Pick<BrowserModel, 'file' | 'objective'>; id: string }
  | { sample: SampleRequest; model: BrowserModel; guideWith?: BrowserModel | undefined }
  | { cancel: true };
/** What the worker computes with. */
export type BrowserBackend = 'webgpu' | 'wasm';
/** From the worker to the page: `ready` once; `opened` for a model; for each sampling, events and `ended`, which also tells any failure. */
export type FromWorker =
  | SampleEvent
  | { type: 'ready'; backend: BrowserBackend }
  | { type: 'opened'; info: ModelInfo }
  | { type: 'ended'; error?: string; where?: string | undefined };

const NAMES: Record<BrowserBackend, string> = { webgpu: 'WebGPU', wasm: 'WebAssembly' };

/**
 * Starts the worker, without waiting for it.
 * @param backend what to compute with (default: WebGPU where the browser has a graphics processor for it, else WebAssembly)
 */
export function browserEngine(models: readonly BrowserModel[], backend: string | null): BrowserEngine {
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
        if (data.type === 'ended' && data.error !== undefined) reject(new RefusalError(data.error, undefined, data.where));
        else if (data.type === type) resolve(data as FromWorker & { type: T });
        else onEvent(data as SampleEvent);
      };
    });
  const ready = until('ready', () => {});
  let last: Promise<unknown> = ready.catch(() => {});
  /** One word with the worker at a time: what is cancelled ends before the next begins. */
  const inTurn = <T>(talk: () => Promise<T>): Promise<T> => {
    const result = last.then(() => ready).then(talk);
    last = result.catch(() => {});
    return result;
  };
  const known = [...models];
  const modelOf = (wanted: string | undefined) => known.find(({ id }) => id === wanted);
  return {
    place: async () => `in this browser (${NAMES[(await ready).backend]}), and sent nowhere`,
    models: async () => models,
    async open(file, id, objective) {
      if (file.size > LARGEST_BYTES)
        throw new RefusalError(`${file.name} is too large to be opened in a browser: give its path to "dit-moe-sampler serve".`);
      const address = URL.createObjectURL(file);
      try {
        return await inTurn(async () => {
          const opened = until('opened', () => {});
          send({ open: { file: address, objective }, id });
          const { info } = await opened;
          known.push({ ...info, file: address, objective });
          return info;
        });
      } catch (error) {
        URL.revokeObjectURL(address);
        const { message, where } = error as RefusalError;
        throw new RefusalError(message.replaceAll(address, file.name), undefined, where);
      }
    },
    async sample({ idle: _, ...request }, signal, onEvent) {
      const model = modelOf(request.model)!;
      if (model.first !== undefined && JSON.stringify(request) === JSON.stringify(firstRequest(model)))
        return replay(model.first, signal, onEvent);
      await inTurn(async () => {
        signal.throwIfAborted();
        const cancel = () => send({ cancel: true });
        signal.addEventListener('abort', cancel);
        try {
          const ended = until('ended', onEvent);
          send({ sample: request, model, guideWith: modelOf(request.guideWith) });
          await ended;
          signal.throwIfAborted();
        } finally {
          signal.removeEventListener('abort', cancel);
        }
      });
    },
  };
}

/** Tells the events of a file. */
async function replay(file: string, signal: AbortSignal, onEvent: (event: SampleEvent) => void): Promise<void> {
  const response = await fetch(file, { signal });
  if (!response.ok) throw new Error(`${file} cannot be loaded (status ${response.status}).`);
  for (const line of (await response.text()).trimEnd().split('\n')) onEvent(JSON.parse(line) as SampleEvent);
}
