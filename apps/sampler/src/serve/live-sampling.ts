/** Sampling that can be watched: every step as an event. Runs in the server and in the browser. */
import { encodePng, pictureAt } from '@dit-moe/data';
import type { SolverName } from '@dit-moe/diffusion';
import { ditSizes, expertLayers, expertsPerToken, type ModelCard, nullLabelOf, tokensCompete } from '@dit-moe/dit';
import type { RoutedBatch } from '@dit-moe/moe/telemetry';
import { type Pipeline, samplingDefaults, strengthOf } from '@dit-moe/pipeline';
import { type ModelInfo, type SampleEvent, type SampleRequest, toBase64 } from './protocol.js';
import { startPicture } from './start-pixels.js';

/** What there is to say of a model before it is opened; which others can guide it is not known here. */
export function modelInfo(id: string, card: ModelCard, { scale, encodes }: { scale: number; encodes: boolean }): Omit<ModelInfo, 'guides'> {
  const { config, classNames, step } = card;
  const [height, width] = config.inputSize;
  const { moe } = config;
  return {
    id,
    name: id,
    step,
    classNames,
    height: height * scale,
    width: width * scale,
    channels: config.inChannels === 1 ? 1 : 3,
    grid: ditSizes(config).grid,
    layers: expertLayers(config).length,
    experts: moe?.numExperts ?? 0,
    router: moe === undefined ? '' : (moe.router ?? 'token'),
    expertsPerPatch: moe === undefined ? [] : expertLayers(config).map((layer) => expertsPerToken({ ...config, moe }, layer)),
    expertsVary: moe !== undefined && tokensCompete(moe),
    encodes,
    guided: nullLabelOf(config) !== undefined,
    defaults: samplingDefaults(card),
  };
}

/**
 * Samples one batch.
 * @param options `emit` receives every event but `queued` and `error`; while `ready()` is false, steps are left out; `pause` is
 * awaited after every step
 */
export async function sampleLive(
  pipeline: Pipeline,
  request: SampleRequest,
  options: { signal?: AbortSignal; emit: (event: SampleEvent) => void; ready?: () => boolean; pause?: () => Promise<void> },
): Promise<void> {
  const { signal, emit, ready = () => true, pause } = options;
  const started = performance.now();
  const images = request.labels.map((label, index) => ({ label, index }));
  const { config } = pipeline.card;
  const [height, width] = config.inputSize.map((edge) => edge * pipeline.space.scale) as [number, number];
  const init = request.init === undefined ? undefined : startPicture(request.init, { height, width });
  const settings = pipeline.settings({ ...request, solver: request.solver as SolverName | undefined });
  let routing: RoutedBatch | undefined;
  const run = pipeline.sample({
    ...settings,
    images,
    batch: images.length,
    signal,
    init,
    ...(config.moe !== undefined && { onRouting: (latest: RoutedBatch) => (routing = latest) }),
  });
  for await (const { step, steps, time, preview } of run) {
    await pause?.();
    if (!ready()) continue;
    const { data, height, width, channels } = await preview();
    const experts = routing === undefined ? {} : { experts: toBase64(conditionalExperts(routing, images.length)) };
    emit({ type: 'step', step, steps, time, pixels: toBase64(data), height, width, channels, ...experts });
  }
  const pixels = await run;
  const startNote =
    init === undefined ? {} : { init: 'given', strength: strengthOf(init), ...(init.mask !== undefined && { mask: 'given' }) };
  const pngs = images.map((image, i) => {
    const text = {
      Software: 'dit-moe-sampler',
      Comment: JSON.stringify({
        model: request.model,
        guideWith: request.guideWith,
        step: pipeline.card.step,
        ...settings,
        ...image,
        ...startNote,
      }),
    };
    return toBase64(encodePng(pictureAt(pixels, i), text));
  });
  emit({ type: 'done', images: pngs, height: pixels.height, width: pixels.width, seconds: (performance.now() - started) / 1000 });
}

/** Choices of the first `count` images, without those of the unconditional half: `[layers, count, patches, slots]`. */
function conditionalExperts({ layers, labels }: RoutedBatch, count: number): Uint8Array {
  const parts = layers.map((chosen) => Uint8Array.from(chosen.subarray(0, (chosen.length / labels.length) * count)));
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
