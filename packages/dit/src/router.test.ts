/** Every router of the configuration: backends, compiled steps, recomputation, gradients, and that a sample does not depend on its batch. */
import '@tensorflow/tfjs-backend-wasm';
import { RoutingTelemetry } from '@dit-moe/moe/telemetry';
import { compile, valueAndGrads, type Weights } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { type DitConfig, dit, ditSizes, type MoeConfig, parseDitConfig, routerLossWeights, weightSpecs } from './index.js';
import { randomWeights, someInputs, tiny } from './testing/models.js';

const base = tiny.moe!;
const routers: Record<string, MoeConfig> = {
  token: { ...base, losses: { z: 0.001, importance: 0.01, similarity: 0.01 } },
  'token, unmodulated': { ...base, routerInput: 'unmodulated' },
  'token, time': { ...base, routerInput: 'time' },
  'token, null expert': { ...base, nullExpert: true },
  'token, load bias': { ...base, scoreFunction: 'sigmoid', normalizeTopK: true, weightScale: 2.5, loadBias: 0.001 },
  'expert-choice': { ...base, router: 'expert-choice', scoreFunction: 'sigmoid' },
  'expert-choice, unmodulated+time': { ...base, router: 'expert-choice', routerInput: 'unmodulated+time', normalizeTopK: true },
  prototypes: { ...base, router: 'prototypes', nullExpert: true, losses: { contrastive: 0.1 } },
  timestep: { ...base, router: 'timestep', topK: 1, timeRange: 1 },
};
const modelOf = (moe: MoeConfig): DitConfig => ({ ...tiny, moe });
/** Labels of which the last is that of no class. */
const inputsOf = (config: DitConfig) => {
  const [x, t] = someInputs(config);
  return [x, t, tf.tensor1d([0, 2, config.numClasses], 'int32')] as const;
};
const total = (config: DitConfig, weights: Weights, inputs: ReturnType<typeof inputsOf>, recompute = false) => {
  const { output, losses } = dit(weights, config, ...inputs, { recompute });
  const terms = Object.entries(routerLossWeights(config.moe!)).map(([name, weight]) => tf.mul(losses[name], weight));
  return tf.addN([tf.mean(tf.square(output)), ...terms]) as tf.Scalar;
};

beforeAll(async () => void (await useTensorFlow()));

describe.each(Object.keys(routers))('%s', (name) => {
  const config = modelOf(routers[name]);

  test('is read from JSON', () => {
    expect(parseDitConfig(JSON.parse(JSON.stringify(config)))).toEqual(config);
  });

  test('cpu, WebAssembly and the runtime agree, compiled as well', async () => {
    await tf.setBackend('cpu');
    const expected = dit(randomWeights(config), config, ...inputsOf(config)).output;
    for (const backend of ['wasm', 'tensorflow']) {
      await tf.setBackend(backend);
      const inputs = inputsOf(config).map((x) => tf.tensor(x.dataSync(), x.shape, x.dtype as 'float32')) as [
        tf.Tensor,
        tf.Tensor,
        tf.Tensor,
      ];
      const weights = randomWeights(config);
      expect(dit(weights, config, ...inputs).output).toBeCloseTensor(expected, 1e-4);
      const step = compile((x: tf.Tensor, t: tf.Tensor, y: tf.Tensor) => dit(weights, config, x, t, y).output);
      expect(step.runSync(...inputs)).toBeCloseTensor(expected, 1e-4);
      step.dispose();
    }
  });

  test('a sample is what it is alone, whatever its batch', async () => {
    await tf.setBackend('tensorflow');
    const [x, t, y] = inputsOf(config);
    const weights = randomWeights(config);
    const together = tf.split(dit(weights, config, x, t, y).output, 3);
    const one = (part: tf.Tensor, i: number) => tf.slice(part, i, 1);
    together.forEach((expected, i) => {
      expect(dit(weights, config, one(x, i), one(t, i), one(y, i)).output).toBeCloseTensor(expected, 1e-5);
    });
  });

  test('recomputed blocks give the same, and gradients equal differences along a random direction', async () => {
    await tf.setBackend('tensorflow');
    const inputs = inputsOf(config);
    const weights = randomWeights(config);
    const [kept, again] = [false, true].map((recompute) =>
      valueAndGrads(() => ({ loss: total(config, weights, inputs, recompute) }), weights, { allowZeros: true }),
    );
    expect(again.value.dataSync()).toEqual(kept.value.dataSync());
    for (const name of Object.keys(weights)) expect(again.grads[name]).toBeCloseTensor(kept.grads[name], 1e-5);
    // Only what no choice depends on: which experts are chosen is not differentiable.
    const names = Object.keys(weights).filter((name) => /^blocks\.1\.(moe\.experts|moe\.shared)|finalLayer/.test(name));
    const directions = Object.fromEntries(names.map((name, i) => [name, tf.randomNormal(weights[name].shape, 0, 1, 'float32', i)]));
    const at = (h: number) =>
      total(
        config,
        Object.fromEntries(
          Object.entries(weights).map(([name, w]) => [name, name in directions ? tf.add(w, tf.mul(directions[name], h)) : w]),
        ),
        inputs,
      ).dataSync()[0];
    const slope = names.reduce((sum, name) => sum + tf.sum(tf.mul(kept.grads[name], directions[name])).dataSync()[0], 0);
    expect(Math.abs((at(1e-3) - at(-1e-3)) / 2e-3 - slope)).toBeLessThan(2e-3 + 0.03 * Math.abs(slope));
  });

  test('what the router learns gets a gradient, and telemetry counts every assignment', async () => {
    await tf.setBackend('tensorflow');
    const inputs = inputsOf(config);
    const weights = randomWeights(config);
    const { grads } = valueAndGrads(() => ({ loss: total(config, weights, inputs) }), weights, { allowZeros: true });
    for (const own of Object.keys(weights).filter((weight) => /\.(gate|prototypes)$/.test(weight)))
      expect(tf.max(tf.abs(grads[own])).dataSync()[0], own).toBeGreaterThan(0);
    const { tokens } = ditSizes(config);
    const { numExperts, topK } = config.moe!;
    const telemetry = new RoutingTelemetry({ layers: 2, numExperts, tokens, nullLabel: config.numClasses });
    const { routing } = dit(weights, config, ...inputs);
    telemetry.update(routing, { labels: inputs[2] });
    const { layers } = await telemetry.read();
    for (const { load, byClass, nonFiniteTokens } of layers) {
      expect(nonFiniteTokens).toBe(0);
      const unconditional = byClass.reduce((sum, [, n]) => sum + n, 0);
      const own = config.moe!.nullExpert === true;
      expect(load.reduce((a, b) => a + b)).toBe(2 * tokens * topK + tokens * (own ? 1 : topK));
      if (own) expect(byClass[numExperts - 1]).toEqual([0, unconditional]);
    }
    telemetry.dispose();
  });
});

test('the router that goes by the time gives every part of it an expert, and learns nothing', async () => {
  await tf.setBackend('cpu');
  const config = modelOf(routers['timestep']);
  expect(Object.keys(weightSpecs(config)).filter((name) => /gate$|prototypes/.test(name))).toEqual([]);
  const t = tf.tensor1d([0, 0.26, 1]);
  const [x, , y] = inputsOf(config);
  const { routing } = dit(randomWeights(config), config, x, t, y);
  const { tokens } = ditSizes(config);
  const chosen = Array.from(routing[0].indices.dataSync());
  expect([0, tokens, 2 * tokens].map((first) => chosen[first])).toEqual([0, 1, 3]);
});

test.each<[Partial<MoeConfig>, RegExp]>([
  [{ router: 'timestep', topK: 1 }, /moe\.timeRange: expected the largest timestep/],
  [{ router: 'timestep', timeRange: 1 }, /moe\.topK: expected 1/],
  [{ router: 'timestep', topK: 1, timeRange: 1, losses: { z: 1 } }, /moe\.losses: expected none/],
  [{ router: 'expert-choice', nullExpert: true }, /moe\.nullExpert: expected the router token or prototypes/],
  [{ router: 'expert-choice', groups: { count: 2, keep: 1 } }, /moe\.groups/],
  [{ losses: { contrastive: 0.1 } }, /losses\.contrastive: expected the router prototypes/],
  [{ timeRange: 1000 }, /moe\.timeRange: expected the router timestep/],
  [{ router: 'expert-choice', loadBias: 0.001 }, /moe\.loadBias: expected the router token or prototypes/],
  [{ nullExpert: true, topK: 4 }, /topK: expected at most 3/],
])('%j is refused with what fits', (change, message) => {
  expect(() => weightSpecs(modelOf({ ...base, ...change }))).toThrow(message);
});
