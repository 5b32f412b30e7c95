/** The worker: TensorFlow.js on WebAssembly, the model, and the same sampling as on the server. */
import { readModel } from '@dit-moe/dit';
import { decodeTensor, headerLength, parseHeader, type TensorEntry } from '@dit-moe/tensor-ops/io';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { pixelSpace } from '../image-space.js';
import { type OpenModel, prepareModel } from '../model.js';
import { sampleLive } from '../serve/live-sampling.js';
import type { FromWorker, ToWorker } from './browser-engine.js';

const scope = self as unknown as { postMessage(message: FromWorker): void; onmessage: (event: MessageEvent<ToWorker>) => void };

/** Bytes of a safetensors file's length field. */
const PREFIX = 8;

/** Fetches a model and brings it to the device. */
async function load(file: string): Promise<OpenModel> {
  setWasmPaths(new URL('./', self.location.href).href);
  if (!(await tf.setBackend('wasm'))) throw new Error('WebAssembly is not available.');
  await tf.ready();
  const response = await fetch(file);
  if (!response.ok) throw new Error(`The model cannot be loaded (status ${response.status}).`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  const json = bytes.subarray(PREFIX, PREFIX + headerLength(bytes.subarray(0, PREFIX), bytes.length, file));
  const { tensors, metadata, dataOffset } = parseHeader(json, bytes.length, file);
  const entry = (name: string): TensorEntry => {
    const found = tensors.get(name);
    if (found === undefined) throw new Error(`${file} has no tensor "${name}".`);
    return found;
  };
  const model = readModel({
    path: file,
    format: 'safetensors',
    names: [...tensors.keys()],
    metadata,
    info: entry,
    async read(name) {
      const { dtype, shape, begin, end } = entry(name);
      return { dtype, shape, data: decodeTensor(bytes.slice(dataOffset + begin, dataOffset + end), dtype) };
    },
    close: async () => {},
  });
  if (model.card === undefined) throw new Error(`${file} does not say what model it is.`);
  return prepareModel(model.card, pixelSpace(model.config.inChannels), model);
}

let opened: { file: string; model: OpenModel } | undefined;
let running = new AbortController();

scope.onmessage = async ({ data }) => {
  if ('cancel' in data) return running.abort();
  running = new AbortController();
  const { signal } = running;
  try {
    if (opened?.file !== data.file) {
      opened?.model.dispose();
      opened = { file: data.file, model: await load(data.file) };
    }
    await sampleLive(opened.model, data.sample, {
      signal,
      emit: (event) => scope.postMessage(event),
      // A word from the page is heard only between tasks.
      pause: () => new Promise((resolve) => setTimeout(resolve)),
    });
    scope.postMessage({ type: 'ended' });
  } catch (error) {
    scope.postMessage({ type: 'ended', error: (error as Error).message });
  }
};
