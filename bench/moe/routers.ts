import { type DitConfig, describeModel, dit, type MoeConfig, preset, routerLossWeights, weightSpecs } from '@dit-moe/dit';
import { compile, valueAndGrads } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type BenchmarkResult, result } from '../harness/benchmark.js';
import { interleave, processorTimer, type Repetitions } from '../harness/measure.js';

/** Images of 256 px: 2,048 tokens. */
const BATCH = 8;

/** Two of eight experts of width 4 and a shared one of width 2 for a token, or what multiplies as much. */
const base = { numExperts: 8, topK: 2, expertRatio: 4, sharedRatio: 2, balanceAlpha: 0.01 } satisfies MoeConfig;
const routers: Readonly<Record<string, MoeConfig>> = {
  token: base,
  dsmoe: { ...base, scoreFunction: 'sigmoid', normalizeTopK: true, weightScale: 2.5, loadBias: 0.001, balanceAlpha: 0 },
  'token, unmodulated': { ...base, routerInput: 'unmodulated' },
  'token, time': { ...base, routerInput: 'time' },
  'expert-choice': { ...base, router: 'expert-choice', balanceAlpha: 0 },
  race: { ...base, router: 'race', scoreFunction: 'identity', balanceAlpha: 0, losses: { similarity: 0.01 } },
  threshold: { ...base, router: 'threshold', balanceAlpha: 0 },
  // The expert of the null class is the ninth.
  prototypes: { ...base, router: 'prototypes', nullExpert: true, numExperts: 9, balanceAlpha: 0, losses: { contrastive: 0.1 } },
  // One expert of twice the width, as the router by time needs: twice the weights for as many products.
  'token, one wide expert': { ...base, topK: 1, expertRatio: 8 },
  timestep: { ...base, router: 'timestep', timeRange: 1, topK: 1, expertRatio: 8, balanceAlpha: 0 },
};

/**
 * A block of DiT-MoE-S/2 with every router against token choice, at equal active multiply-accumulates: forward as in sampling, and forward and
 * backward as in training, with the losses. Processor time, which other programs disturb less than the clock. Five sixths of it are experts.
 */
export async function routerCost(repetitions: Repetitions, log: (line: string) => void): Promise<BenchmarkResult[]> {
  const sides = Object.entries(routers).map(([name, moe]) => ({ name, ...side({ ...preset('S/2-8E2A'), depth: 1, moe }) }));
  const results: BenchmarkResult[] = [];
  for (const workload of ['forward', 'train'] as const) {
    const seconds = await interleave(
      sides.map((one) => processorTimer(one[workload])),
      repetitions,
    );
    for (const [i, { name, gmac, perToken }] of sides.entries()) {
      const [ms, token] = [seconds[i] * 1000, seconds[0] * 1000];
      log(`${name}, ${workload}: ${ms.toFixed(0)} ms, ${gmac.toFixed(3)} GMAC an image, ${perToken.toFixed(2)} experts per token sampled`);
      results.push(result(`router ${name}, ${workload}`, 'ms', 'less', ms, token));
    }
  }
  for (const one of sides) one.dispose();
  return results;
}

function side(config: DitConfig & { moe: MoeConfig }) {
  const [height, width] = config.inputSize;
  const normal = (shape: readonly number[], seed: number) => tf.randomNormal([...shape], 0, 1, 'float32', seed);
  const weights = Object.fromEntries(
    Object.entries(weightSpecs(config)).map(([name, { shape }], i) => [name, tf.tidy(() => tf.mul(normal(shape, i + 1), 0.02))]),
  );
  const x = normal([BATCH, config.inChannels, height, width], 1);
  const t = tf.tensor1d(Array.from({ length: BATCH }, (_, i) => (i + 0.5) / BATCH));
  const y = tf.tensor1d(
    Array.from({ length: BATCH }, (_, i) => 100 * i),
    'int32',
  );
  estimateThresholds(config, weights, [x, t, y]);
  const forward = compile((a: tf.Tensor) => dit(weights, config, a, t, y).output);
  const train = compile((a: tf.Tensor) => {
    const loss = () => {
      const { output, losses } = dit(weights, config, a, t, y, { training: {} });
      const terms = Object.entries(routerLossWeights(config.moe)).map(([name, weight]) => tf.mul(losses[name], weight));
      return { loss: tf.addN([tf.mean(tf.square(output)), ...terms]) as tf.Scalar };
    };
    // Biases of the load and thresholds get no gradient.
    const { value, grads } = valueAndGrads(loss, weights, { allowZeros: true });
    return [value, ...Object.values(grads)];
  });
  const load = tf.tidy(() => tf.sum(dit(weights, config, x, t, y).routing[0].load).dataSync()[0]);
  const run = (step: { run(x: tf.Tensor): Promise<tf.Tensor | tf.Tensor[]> }) => async () => tf.dispose(await step.run(x));
  return {
    gmac: describeModel(config).gmac.linear,
    perToken: load / (BATCH * (height / config.patchSize) * (width / config.patchSize)),
    forward: run(forward),
    train: run(train),
    dispose() {
      forward.dispose();
      train.dispose();
      tf.dispose([x, t, y, ...Object.values(weights)]);
    },
  };
}

/** As training would have estimated them from this batch, so that sampling takes as many experts. */
function estimateThresholds(config: DitConfig, weights: Record<string, tf.Tensor>, [x, t, y]: [tf.Tensor, tf.Tensor, tf.Tensor]): void {
  const edge = tf.tidy(() => dit(weights, config, x, t, y, { training: {} }).routing[0].edge?.clone());
  if (edge === undefined) return;
  for (const [part, value] of Object.entries({ sum: edge, share: tf.ones([1]) })) {
    const name = `blocks.0.moe.threshold.${part}`;
    weights[name].dispose();
    weights[name] = value;
  }
}
