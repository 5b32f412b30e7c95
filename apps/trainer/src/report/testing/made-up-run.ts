/**
 * For tests: the folder of a run that never was, with all that a report shows. Its numbers are closed forms, so that the page is the same
 * on every machine.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { ModelCard } from '@dit-moe/dit';
import { evenness, loadByKind } from '@dit-moe/moe/telemetry';
import { encode } from 'fast-png';
import { modelConfig, resolveConfig } from '../../config/resolve.js';
import type { MetricsLine } from '../../training/metrics-log.js';
import type { LayerRouting, RoutingFile } from '../../training/routing.js';

const [STEPS, EVERY, LAYERS] = [3000, 10, 4];
const [TOKENS, CLASSES, EDGE] = [32_768, 10, 8];
/** Of each layer: six that compute, one that gives its input and one that gives nothing. */
const kinds = [...Array<'swiglu'>(6).fill('swiglu'), 'copy' as const, 'zero' as const];
const EXPERTS = kinds.length;
const groups = [
  { kind: 'swiglu' as const, count: 6 },
  { kind: 'copy' as const, count: 1 },
  { kind: 'zero' as const, count: 1 },
];

/** A number in [-1, 1] that looks drawn. */
const jitter = (n: number): number => 2 * ((n * 0.618_033_988_75) % 1) - 1;
/** From 1 at the beginning to 0. */
const falling = (step: number): number => Math.exp((-6 * step) / STEPS);

/** Share of a layer's assignments that an expert has at a step: uneven at first, nearly even in the end. */
function shares(layer: number, step: number): number[] {
  const weights = kinds.map((_, expert) => Math.exp((0.3 + 1.2 * falling(step)) * Math.sin(2.4 * expert + 1.7 * layer)));
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / total);
}

function routingOf(layer: number, step: number): LayerRouting {
  const load = shares(layer, step).map((share) => Math.round(2 * TOKENS * share));
  const mean = load.reduce((a, b) => a + b, 0) / EXPERTS;
  const deviation = Math.sqrt(load.reduce((sum, n) => sum + (n - mean) ** 2, 0) / EXPERTS);
  return {
    load,
    coefficientOfVariation: deviation / mean,
    maxOverMean: Math.max(...load) / mean,
    loadEntropy: evenness(load),
    routerEntropy: 0.55 + 0.4 * falling(step) - 0.05 * layer,
    // In the first layer nobody chooses the last expert for a while.
    deadExperts: layer === 0 && step < STEPS / 10 ? [EXPERTS - 1] : [],
    dropRate: 0,
    nonFiniteTokens: 0,
    kinds: loadByKind(load, kinds),
  };
}

/** Lines of metrics up to a step. */
export const linesUpTo = (last: number): MetricsLine[] =>
  Array.from({ length: last / EVERY }, (_, i) => {
    const step = (i + 1) * EVERY;
    const heldOut = 0.36 + 0.6 * falling(step);
    return {
      ...{ step, at: Date.UTC(2026, 0, 2, 3, 4) + 400 * step, loss: 0.34 + 0.62 * falling(step) + 0.03 * jitter(i) },
      ...{ balance: LAYERS * (1 + 0.4 * falling(step)), gradNorm: 0.2 + 3 * falling(step) + 0.1 * jitter(i + 7) },
      learningRate: 1.5e-3 * Math.min(1, step / 50) * (0.5 + 0.5 * Math.cos((Math.PI * step) / STEPS)),
      ...{
        imagesPerSecond: 320 + 12 * jitter(i + 3),
        stall: 0.01 + 0.008 * jitter(i + 5),
        memory: 900 + Math.round(step / 100),
        skipped: 0,
      },
      time: { data: 0.4, transfer: 0.2, compute: 390.6, host: 1.1 },
      routing: Array.from({ length: LAYERS }, (_, layer) => routingOf(layer, step)),
      ...(step % 500 === 0 && {
        evaluation: { 'online/fd_classifier_n1000': 4 + 30 * falling(step), 'online/accuracy_n1000': 0.97 - 0.8 * falling(step) },
      }),
      ...(step % 250 === 0 && { validation: { loss: heldOut, byTime: [0.6, 0.9, 1.1, 1.4].map((part) => part * heldOut) } }),
    };
  });

/** All that was counted for the last line. */
function countsOf(step: number): RoutingFile {
  const buckets = Array.from({ length: 10 }, (_, bucket) => bucket);
  const layers = Array.from({ length: LAYERS }, (_, layer) => {
    const routing = routingOf(layer, step);
    const { load } = routing;
    const parts = (expert: number): number[] => buckets.map((bucket) => 1 + 0.8 * Math.sin(expert + layer + bucket / 3));
    return {
      ...routing,
      byTimestep: load.map((n, expert) => parts(expert).map((part) => Math.round((n * part) / 10))),
      byClass: load.map((n) => [0.9 * n, 0.1 * n]),
      byPosition: load.map((n) => [n]),
      coActivation: load.map((n, row) =>
        load.map((_, column) => (row === column ? n : (n * (1 + Math.cos(row - column + layer))) / EXPERTS)),
      ),
    };
  });
  return { steps: EVERY, step, tokens: TOKENS * EVERY, layers };
}

/** A sheet of samples, a column per class: a bar that turns sharp. */
function sheet(step: number): Uint8Array {
  const [width, height] = [CLASSES * EDGE, 4 * EDGE];
  const data = Uint8Array.from({ length: width * height }, (_, i) => {
    const [x, y] = [i % width, Math.floor(i / width)];
    const [column, row] = [Math.floor(x / EDGE), Math.floor(y / EDGE)];
    const bar = Math.abs((x % EDGE) - 3.5 - ((y % EDGE) - 3.5) * jitter(column + 3 * row)) < 1.5 ? 230 : 20;
    const blur = falling(step);
    return Math.round((1 - blur) * bar + blur * (128 + 127 * jitter(i)));
  });
  return encode({ data, width, height, channels: 1, depth: 8 });
}

/** Writes the folder of the run up to a step, as a killed or finished training leaves it. */
export function writeMadeUpRun(out: string, last = STEPS): void {
  const overrides = [`steps=${STEPS}`, `logEvery=${EVERY}`, 'sampling.every=500', `model.moe.experts=${JSON.stringify(groups)}`];
  const config = resolveConfig({
    preset: 'digits',
    overrides: [...overrides, 'validation={share: 0.1, every: 250}', 'evaluation.every=500'],
  });
  const classNames = Array.from({ length: CLASSES }, (_, i) => String(i));
  const card: ModelCard = {
    config: modelConfig(config, { channels: 1, height: EDGE, width: EDGE, classNames }),
    ...{ objective: 'flow', timeScale: 1000, classNames, step: last },
  };
  const write = (name: string, content: string | Uint8Array): void => fs.writeFileSync(path.join(out, name), content);
  fs.mkdirSync(path.join(out, 'samples'), { recursive: true });
  write('config.json', JSON.stringify({ ...config, data: { ...config.data, path: 'digits' } }));
  write('model.json', JSON.stringify(card));
  write(
    'metrics.jsonl',
    linesUpTo(last)
      .map((line) => `${JSON.stringify(line)}\n`)
      .join(''),
  );
  write('routing.json', JSON.stringify(countsOf(last)));
  for (let step = 500; step <= last; step += 500) write(`samples/step-${String(step).padStart(8, '0')}.png`, sheet(step));
}
