/** Samples by a model inside the browser, in a worker, so that the page stays quick. */
import type { ModelInfo, SampleEvent, SampleRequest } from '../serve/protocol.js';
import type { Engine } from './engine.js';

/** From the page to the worker. */
export type ToWorker = { sample: SampleRequest; file: string } | { cancel: true };
/** From the worker to the page: events, then `ended`. */
export type FromWorker = SampleEvent | { type: 'ended'; error?: string };

export function browserEngine(models: readonly (ModelInfo & { file: string })[]): Engine {
  const worker = new Worker('worker.js', { type: 'module' });
  const send = (message: ToWorker): void => worker.postMessage(message);
  return {
    place: 'in this browser',
    models: async () => models,
    sample: (request, signal, onEvent) =>
      new Promise((resolve, reject) => {
        const cancel = () => send({ cancel: true });
        signal.addEventListener('abort', cancel);
        worker.onerror = (event) => reject(new Error(event.message || 'The worker cannot be started.'));
        worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
          if (data.type !== 'ended') return onEvent(data);
          signal.removeEventListener('abort', cancel);
          if (signal.aborted) reject(signal.reason as Error);
          else if (data.error === undefined) resolve();
          else reject(new Error(data.error));
        };
        send({ sample: request, file: models.find(({ id }) => id === request.model)!.file });
      }),
  };
}
