/** The worker: TensorFlow.js on WebGPU or WebAssembly, the model, and the same sampling as on the server. */
import { type ModelCard, readModel } from '@dit-moe/dit';
import { decodeTensor, headerLength, parseHeader, type TensorEntry } from '@dit-moe/tensor-ops/io';
import { Autoencoder, loadAutoencoder } from '@dit-moe/vae';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs-core';
import { type ImageSpace, isOfPixels, latentSpace, pixelSpace, roughSpace } from '../image-space.js';
import { type OpenModel, prepareModel } from '../model.js';
import { sampleLive } from '../serve/live-sampling.js';
import type { BrowserBackend, FromWorker, ToWorker } from './browser-engine.js';
import type { BrowserModel } from './engine.js';

const scope = self as unknown as { postMessage(message: FromWorker): void; onmessage: (event: MessageEvent<ToWorker>) => void };

/** Bytes of a safetensors file's length field. */
const PREFIX = 8;

/** Starts the backend that the page asks for, or the best one: a graphics processor, but not one that is only imitated in software. */
async function startBackend(wanted: string | null): Promise<BrowserBackend> {
  setWasmPaths(new URL('./', self.location.href).href);
  // The types know an older draft of WebGPU, where the adapter itself said it.
  const adapter = (await navigator.gpu?.requestAdapter({ powerPreference: 'high-performance' })) as
    | (GPUAdapter & { info?: { isFallbackAdapter?: boolean } })
    | null
    | undefined;
  const imitated = adapter?.info?.isFallbackAdapter ?? adapter?.isFallbackAdapter ?? true;
  const name = wanted ?? (imitated ? 'wasm' : 'webgpu');
  if (name !== 'webgpu' && name !== 'wasm') throw new Error(`There is no backend "${name}": expected webgpu or wasm.`);
  if (!(await tf.setBackend(name))) throw new Error(`${name === 'wasm' ? 'WebAssembly' : 'WebGPU'} is not available in this browser.`);
  await tf.ready();
  return name;
}

/** Fetches a file of weights. */
async function fetchWeights(file: string) {
  const response = await fetch(file);
  if (!response.ok) throw new Error(`${file} cannot be loaded (status ${response.status}).`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  const json = bytes.subarray(PREFIX, PREFIX + headerLength(bytes.subarray(0, PREFIX), bytes.length, file));
  const { tensors, metadata, dataOffset } = parseHeader(json, bytes.length, file);
  const info = (name: string): TensorEntry => {
    const found = tensors.get(name);
    if (found === undefined) throw new Error(`${file} has no tensor "${name}".`);
    return found;
  };
  return {
    path: file,
    format: 'safetensors' as const,
    names: [...tensors.keys()],
    metadata,
    info,
    async read(name: string) {
      const { dtype, shape, begin, end } = info(name);
      return { dtype, shape, data: decodeTensor(bytes.slice(dataOffset + begin, dataOffset + end), dtype) };
    },
    close: async () => {},
  };
}

/** Fetches a model and brings it to the device. */
async function load({ file, decoder }: BrowserModel): Promise<OpenModel> {
  const model = readModel(await fetchWeights(file));
  const { card } = model;
  if (card === undefined) throw new Error(`${file} does not say what model it is.`);
  return prepareModel(card, await spaceOf(card, decoder), model);
}

async function spaceOf(card: ModelCard, decoder: BrowserModel['decoder']): Promise<ImageSpace> {
  if (decoder !== undefined) {
    const { weights } = await loadAutoencoder(await fetchWeights(decoder.file), decoder.config, ['decoder']);
    return latentSpace(new Autoencoder(weights, decoder.config));
  }
  return isOfPixels(card) ? pixelSpace(card.config.inChannels) : roughSpace(card.config.inChannels);
}

const started = startBackend(new URL(self.location.href).searchParams.get('backend')).then(
  (backend) => scope.postMessage({ type: 'ready', backend }),
  (error: Error) => scope.postMessage({ type: 'ended', error: error.message }),
);
let opened: { file: string; model: OpenModel } | undefined;
let running = new AbortController();

scope.onmessage = async ({ data }) => {
  if ('cancel' in data) return running.abort();
  running = new AbortController();
  const { signal } = running;
  await started;
  try {
    if (opened?.file !== data.model.file) {
      opened?.model.dispose();
      opened = undefined;
      opened = { file: data.model.file, model: await load(data.model) };
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
