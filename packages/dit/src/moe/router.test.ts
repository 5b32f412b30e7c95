/** Every router of the configuration: backends, compiled steps, recomputation, gradients, and that a sample does not depend on its batch. */
import '@tensorflow/tfjs-backend-wasm';
import { recordRouting } from '@dit-moe/moe/selectors';
import { RoutingTelemetry } from '@dit-moe/moe/telemetry';
import { compile, valueAndGrads, type Weights } from '@dit-moe/tensor-ops';
import { differingNodes, useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { routers as rows } from '../../../../testing/routers.js';
import {
  type DitConfig,
  type DitOptions,
  dit,
  ditSizes,
  expertKinds,
  expertsPerToken,
  isRouterState,
  type MoeConfig,
  parseDitConfig,
  routerLossWeights,
  weightSpecs,
} from '../index.js';
import { randomWeights, someInputs, tiny } from '../testing/models.js';

const base = tiny.moe!;
const routers = Object.fromEntries(
  Object.entries(rows).map(([name, row]): [string, MoeConfig] => [
    name,
    { ...base, ...row, ...(row.router === 'timestep' && { timeRange: 1 }) },
  ]),
);
const modelOf = (moe: MoeConfig): DitConfig => ({ ...tiny, moe });
/** Labels of which the last is that of no class. */
const inputsOf = (config: DitConfig) => {
  const [x, t] = someInputs(config);
  return [x, t, tf.tensor1d([0, 2, config.numClasses], 'int32')] as const;
};
/** As {@link randomWeights}, with thresholds that have been estimated. */
const weightsOf = (config: DitConfig): Record<string, tf.Tensor> =>
  Object.fromEntries(
    Object.entries(randomWeights(config)).map(([name, w]) => [name, name.endsWith('.threshold.share') ? tf.onesLike(w) : w]),
  );
/** In training. */
const total = (config: DitConfig, weights: Weights, inputs: ReturnType<typeof inputsOf>, options: DitOptions = {}) => {
  const { output, losses } = dit(weights, config, ...inputs, { training: {}, ...options });
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
    const expected = dit(weightsOf(config), config, ...inputsOf(config)).output;
    for (const backend of ['wasm', 'tensorflow']) {
      await tf.setBackend(backend);
      const inputs = inputsOf(config).map((x) => tf.tensor(x.dataSync(), x.shape, x.dtype as 'float32')) as [
        tf.Tensor,
        tf.Tensor,
        tf.Tensor,
      ];
      const weights = weightsOf(config);
      expect(dit(weights, config, ...inputs).output).toBeCloseTensor(expected, 1e-4);
      const step = compile((x: tf.Tensor, t: tf.Tensor, y: tf.Tensor) => dit(weights, config, x, t, y).output);
      expect(step.runSync(...inputs)).toBeCloseTensor(expected, 1e-4);
      step.dispose();
    }
  });

  test('a sample is what it is alone, whatever its batch', async () => {
    await tf.setBackend('tensorflow');
    const [x, t, y] = inputsOf(config);
    const weights = weightsOf(config);
    const together = tf.split(dit(weights, config, x, t, y).output, 3);
    const one = (part: tf.Tensor, i: number) => tf.slice(part, i, 1);
    together.forEach((expected, i) => {
      expect(dit(weights, config, one(x, i), one(t, i), one(y, i)).output).toBeCloseTensor(expected, 1e-5);
    });
  });

  test('recomputed blocks give the same, and gradients equal differences along a random direction', async () => {
    await tf.setBackend('tensorflow');
    const inputs = inputsOf(config);
    const weights = weightsOf(config);
    const [kept, again] = [false, true].map((recompute) =>
      valueAndGrads(() => ({ loss: total(config, weights, inputs, { recompute }) }), weights, { allowZeros: true }),
    );
    expect(again.value.dataSync()).toEqual(kept.value.dataSync());
    for (const name of Object.keys(weights)) expect(again.grads[name]).toBeCloseTensor(kept.grads[name], 1e-5);
    // Which experts are chosen is not differentiable, so the choices stay.
    const replay = await recordRouting(dit(weights, config, ...inputs, { training: {} }).routing);
    const names = Object.keys(weights).filter((name) => /^blocks\.1\.moe|finalLayer/.test(name) && !isRouterState(name));
    const directions = Object.fromEntries(names.map((name, i) => [name, tf.randomNormal(weights[name].shape, 0, 1, 'float32', i)]));
    const at = (h: number) =>
      total(
        config,
        Object.fromEntries(
          Object.entries(weights).map(([name, w]) => [name, name in directions ? tf.add(w, tf.mul(directions[name], h)) : w]),
        ),
        inputs,
        { replay },
      ).dataSync()[0];
    const slope = names.reduce((sum, name) => sum + tf.sum(tf.mul(kept.grads[name], directions[name])).dataSync()[0], 0);
    expect(Math.abs((at(1e-3) - at(-1e-3)) / 2e-3 - slope)).toBeLessThan(2e-3 + 0.03 * Math.abs(slope));
  });

  test('no size that depends on data becomes a constant of a recorded step', async () => {
    await tf.setBackend('tensorflow');
    const weights = weightsOf(config);
    const step = (x: tf.Tensor, t: tf.Tensor, y: tf.Tensor) => {
      const loss = () => ({ loss: total(config, weights, [x, t, y] as unknown as ReturnType<typeof inputsOf>) });
      const { value, grads } = valueAndGrads(loss, weights, { allowZeros: true });
      return [value, ...Object.values(grads)];
    };
    expect(differingNodes(step, [...inputsOf(config)])).toEqual([]);
  });

  test('recorded choices are replayed to the same output', async () => {
    await tf.setBackend('tensorflow');
    const inputs = inputsOf(config);
    const weights = weightsOf(config);
    const { output, routing } = dit(weights, config, ...inputs);
    const again = dit(weights, config, ...inputs, { replay: await recordRouting(routing) });
    expect(again.output).toBeCloseTensor(output, 1e-6);
  });

  test('what the router learns gets a gradient, and telemetry counts every assignment', async () => {
    await tf.setBackend('tensorflow');
    const inputs = inputsOf(config);
    const weights = weightsOf(config);
    const { grads } = valueAndGrads(() => ({ loss: total(config, weights, inputs) }), weights, { allowZeros: true });
    for (const own of Object.keys(weights).filter((weight) => /moe\.(gate|prototypes|predictor\.\w+)$/.test(weight)))
      expect(tf.max(tf.abs(grads[own])).dataSync()[0], own).toBeGreaterThan(0);
    const { tokens } = ditSizes(config);
    const { numExperts } = config.moe!;
    const telemetry = new RoutingTelemetry({ layers: 2, numExperts, tokens, nullLabel: config.numClasses });
    const { routing } = dit(weights, config, ...inputs, { training: {} });
    telemetry.update(routing, { labels: inputs[2] });
    const { layers } = await telemetry.read();
    for (const [layer, { load, byClass, nonFiniteTokens }] of layers.entries()) {
      const perToken = expertsPerToken({ ...config, moe: config.moe! }, layer);
      expect(nonFiniteTokens).toBe(0);
      const unconditional = byClass.reduce((sum, [, n]) => sum + n, 0);
      const own = config.moe!.nullExpert === true;
      expect(load.reduce((a, b) => a + b)).toBe(2 * tokens * perToken + tokens * (own ? 1 : perToken));
      if (own) expect(byClass[numExperts - 1]).toEqual([0, unconditional]);
    }
    telemetry.dispose();
  });
});

test('experts have their kinds by number, in every block with experts', () => {
  expect(expertKinds(modelOf(routers['token, every loss, noise, different experts']))).toEqual([
    ['zero', 'gelu', 'gelu', 'gelu'],
    ['swiglu', 'gelu', 'copy', 'constant'],
  ]);
  const equal = { ...base, layers: [1] };
  expect(expertKinds(modelOf(equal))).toEqual([Array(4).fill('swiglu')]);
  expect(expertKinds(modelOf({ ...equal, experts: 'gelu' }))).toEqual([Array(4).fill('gelu')]);
  expect(expertKinds({ ...tiny, moe: undefined })).toEqual([]);
});

test('the router that goes by the time gives every part of it an expert, and learns nothing', async () => {
  await tf.setBackend('cpu');
  const config = modelOf(routers['timestep']);
  expect(Object.keys(weightSpecs(config)).filter((name) => /gate$|prototypes/.test(name))).toEqual([]);
  const t = tf.tensor1d([0, 0.26, 1]);
  const [x, , y] = inputsOf(config);
  const { routing } = dit(weightsOf(config), config, x, t, y);
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
  [{ capacity: 1 }, /moe\.capacity: expected the router expert-choice, race or threshold \(the others send every token to topK experts/],
  [{ router: 'race', capacity: [1] }, /moe\.capacity: expected one number for each of the 2 blocks with experts/],
  [{ router: 'race', capacity: 5 }, /moe\.capacity: expected above 0, at most numExperts 4/],
  [{ router: 'race', capacitySchedule: { from: 3, steps: 10, stages: 2 } }, /capacitySchedule\.from: expected 1 to 2/],
  [{ router: 'race', loadBias: 0.001 }, /moe\.loadBias: expected the router token or prototypes/],
  [
    { router: 'race', normalizeTopK: 'expert' },
    /normalizeTopK: expected true or false: with race an expert's tokens are of several samples/,
  ],
  [{ router: 'threshold', routerInput: 'time' }, /routerInput: expected .*with threshold the tokens of an image compete/],
  [{ losses: { capacity: 1 } }, /losses\.capacity: expected the router threshold/],
  [{ losses: { load: 1 } }, /losses\.load: expected noise\.gate/],
  [{ routerInput: 'time', noise: { gate: 1 } }, /noise: expected a router that sees tokens/],
  [{ experts: [{ kind: 'zero', count: 1 }] }, /moe\.experts: expected groups of numExperts 4 experts together/],
  [
    { layerExperts: [{ layers: [2], experts: [{ kind: 'zero', count: 4 }] }] },
    /layerExperts\[0\]\.layers: expected numbers of blocks below 2/,
  ],
  [{ sharedRatio: 0, sharedGate: true }, /sharedGate: expected a shared expert/],
  [{ layers: { from: 2 } }, /moe\.layers: expected all, deepHalf/],
])('%j is refused with what fits', (change, message) => {
  expect(() => weightSpecs(modelOf({ ...base, ...change }))).toThrow(message);
});
