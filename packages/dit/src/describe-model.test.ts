import { expect, test } from 'vitest';
import { type DitConfig, describeModel, type ModelDescription, preset } from './index.js';

// DiT-MoE paper, table 1: "Gflops" (multiply-accumulates without attention's products), total and active parameters.
test.each([
  ['S/2-8E2A', 15.43, '199M', '71M'],
  ['S/2-16E2A', 15.44, '369M', '71M'],
  ['B/2-8E2A', 61.68, '795M', '286M'],
  ['L/2-8E2A', 219.26, '2.8B', '1.0B'],
  ['XL/2-8E2A', 323.74, '4.1B', '1.5B'],
  ['G/2-16E2A', 690.94, '16.5B', '3.1B'],
])('%s has the numbers of the paper in both flavours', (name, gmac, total, active) => {
  // Printed with as many digits, rounded or cut.
  const printed = (text: string, value: number) => {
    const [, number, unit] = /^([\d.]+)([MB])$/.exec(text)!;
    const digit = number.includes('.') ? 0.1 : 1;
    expect(Math.abs(value / (unit === 'B' ? 1e9 : 1e6) - Number(number))).toBeLessThan(digit);
  };
  for (const flavour of ['repo', 'paper'] as const) {
    const description = describeModel(preset(name, { flavour }));
    expect(Math.round(description.gmac.linear * 100) / 100).toBe(gmac);
    printed(total, description.parameters.total);
    printed(active, description.parameters.active);
  }
});

test('a dense DiT has the GMAC of its own paper, attention adds two products per block', () => {
  // DiT paper, table 4: XL/2 118.64 Gflops at 256 px, 524.60 at 512 px, attention included.
  expect(describeModel(preset('XL/2')).gmac.total).toBeCloseTo(118.64, 0);
  expect(describeModel(preset('XL/2', { imageSize: 512 })).gmac.total).toBeCloseTo(524.6, -1);
  const { gmac, tokens } = describeModel(preset('S/2-8E2A'));
  expect(gmac.total - gmac.linear).toBeCloseTo((12 * 2 * tokens ** 2 * 384) / 1e9, 9);
});

test('only the layers with experts are counted as such', () => {
  const mixed: DitConfig = { ...preset('S/2-8E2A'), moe: { ...preset('S/2-8E2A').moe!, layers: 'deepHalf' } };
  const [all, half, dense] = [preset('S/2-8E2A'), mixed, preset('S/2')].map((config) => describeModel(config));
  expect(half.parameters.total).toBe((all.parameters.total + dense.parameters.total) / 2);
  expect(half.gmac.total).toBeCloseTo((all.gmac.total + dense.gmac.total) / 2, 9);
});

test('different experts are counted as often as each is used on average', () => {
  const equal = preset('S/2-8E2A');
  const [d, moe] = [equal.hiddenSize, { ...equal.moe!, sharedRatio: 0 }];
  const experts = [
    { kind: 'swiglu', count: 3, ratio: 1 },
    { kind: 'gelu', count: 2, ratio: 0.5 },
    { kind: 'constant', count: 1 },
    { kind: 'copy', count: 1 },
    { kind: 'zero', count: 1 },
  ] as const;
  // The same without routed experts' work: all of them give nothing.
  const [groups, none] = [experts, [{ kind: 'zero', count: 8 }] as const].map((list) =>
    describeModel({ ...equal, moe: { ...moe, experts: list } }),
  ) as [ModelDescription, ModelDescription];
  const [swiglu, gelu] = [3 * d * d, 2 * d * (d / 2)];
  const weights = { swiglu, gelu: gelu + d / 2 + d, constant: d };
  const blocks = equal.depth;
  expect(groups.parameters.total - none.parameters.total).toBe(blocks * (3 * weights.swiglu + 2 * weights.gelu + weights.constant));
  // A token has two of the eight: three in eight times a SwiGLU, and so on.
  const share = 2 / 8;
  expect(groups.parameters.active - none.parameters.active).toBeCloseTo(
    blocks * share * (3 * weights.swiglu + 2 * weights.gelu + weights.constant),
    3,
  );
  const products = blocks * equal.inputSize[0] ** 2 * 0.25 * share * (3 * swiglu + 2 * gelu + d);
  expect(groups.gmac.linear - none.gmac.linear).toBeCloseTo(products / 1e9, 9);
  // One block of eight gives back what it gets.
  const layerExperts = [{ layers: [3], experts: [{ kind: 'copy', count: 8 }] as const }];
  const less = describeModel({ ...equal, moe: { ...moe, experts, layerExperts } });
  expect((groups.gmac.linear - less.gmac.linear) * 1e9 * blocks).toBeCloseTo(products, 0);
  const capacity = describeModel({ ...equal, moe: { ...moe, experts, router: 'expert-choice', capacity: 4 } });
  expect((capacity.gmac.linear - none.gmac.linear) * 1e9).toBeCloseTo(2 * products, 0);
});

test('class tokens are tokens of the blocks that have them', () => {
  const dense = preset('S/2');
  const { tokens, gmac, parameters } = describeModel(dense);
  const more = describeModel({ ...dense, classTokens: { count: 8, from: 4 } });
  const d = dense.hiddenSize;
  expect(more.tokens).toBe(tokens);
  expect(more.parameters.total - parameters.total).toBe(8 * d);
  // Attention and a feed-forward layer of 4 D: twelve products of D x D for each token, in eight blocks.
  expect((more.gmac.linear - gmac.linear) * 1e9).toBeCloseTo(8 * 8 * 12 * d * d, 0);
  expect((more.gmac.total - more.gmac.linear) * 1e9).toBeCloseTo(2 * d * (4 * tokens ** 2 + 8 * (tokens + 8) ** 2), 0);
});

test('memory: bfloat16 halves the matrices, recomputation leaves one block, batches scale activations', () => {
  const config = preset('XL/2-8E2A', { imageSize: 512 });
  const { inference, training, parameters } = describeModel(config);
  expect(inference.bf16.weights / inference.f32.weights).toBeCloseTo(0.5, 2);
  expect(training.f32.weights + training.f32.optimizer + training.f32.gradients + training.f32.averages).toBe(20 * parameters.total);
  const again = describeModel(config, { recompute: true }).training.f32.activations;
  expect(training.f32.activations / again).toBeGreaterThan(7);
  const two = describeModel(config, { batch: 2 }).training.f32.activations;
  expect(two / training.f32.activations).toBeGreaterThan(1.8);
  expect(training.f32.total).toBe(20 * parameters.total + training.f32.activations);
});
