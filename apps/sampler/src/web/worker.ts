/** The worker: TensorFlow.js on WebGPU or WebAssembly, the model, and the same sampling as on the server. */
import { fetchPipeline, isOfPixels, type Pipeline } from '@dit-moe/pipeline';
import type { DitMoeError } from '@dit-moe/tensor-ops';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs-core';
import { modelInfo, sampleLive } from '../serve/live-sampling.js';
import type { BrowserBackend, FromWorker, ToWorker } from './browser-engine.js';
import type { BrowserModel } from './engine.js';

const scope = self as unknown as { postMessage(message: FromWorker): void; onmessage: (event: MessageEvent<ToWorker>) => void };

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

const started = startBackend(new URL(self.location.href).searchParams.get('backend')).then(
  (backend) => scope.postMessage({ type: 'ready', backend }),
  (error: Error) => scope.postMessage({ type: 'ended', error: error.message }),
);
let opened: { file: string; guideWith: string | undefined; pipeline: Pipeline } | undefined;
let running = new AbortController();

/** The pipeline of a model, which stays open until another one is asked for. */
async function pipelineOf(
  { file, decoder, objective }: Pick<BrowserModel, 'file' | 'decoder' | 'objective'>,
  guideWith?: string,
): Promise<Pipeline> {
  if (opened?.file !== file || opened.guideWith !== guideWith) {
    opened?.pipeline.dispose();
    opened = undefined;
    opened = { file, guideWith, pipeline: await fetchPipeline(file, { decoder, guideWith, objective, onWarning: console.info }) };
  }
  return opened.pipeline;
}

scope.onmessage = async ({ data }) => {
  if ('cancel' in data) return running.abort();
  running = new AbortController();
  const { signal } = running;
  await started;
  try {
    if ('open' in data) {
      const { card, space } = await pipelineOf(data.open);
      const info = modelInfo(data.id, card, { scale: space.scale, encodes: isOfPixels(card) });
      return scope.postMessage({ type: 'opened', info: { ...info, guides: [] } });
    }
    await sampleLive(await pipelineOf(data.model, data.guideWith?.file), data.sample, {
      signal,
      emit: (event) => scope.postMessage(event),
      // A word from the page is heard only between tasks.
      pause: () => new Promise((resolve) => setTimeout(resolve)),
    });
    scope.postMessage({ type: 'ended' });
  } catch (error) {
    const { message, where } = error as Partial<DitMoeError> & Error;
    scope.postMessage({ type: 'ended', error: message, where });
  }
};
